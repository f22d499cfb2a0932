"""Every family out of a GGUF file, by us and by llama.cpp: small models, float32, every logit.

The files are written here with the keys and names that our families state, so a wrong one shows:
llama.cpp refuses the file or computes something else. Both sides must stay within the bounds of
`test_architectures.py` of each other. For models whose file cannot say what transformers computed
(Gemma's divisor of scores; where llama.cpp itself differs, see FIELDS) the bounds are those of a
network that differs in that one number. ggml looks GELU up in a table for float16.
"""

import dataclasses

import numpy as np
import pytest

from refquant.architectures import FAMILIES
from refquant.formats import open_checkpoint
from refquant.runtime import blocks, ops
from refquant.runtime.rope import frequencies, rope_of
from tests.architecture_models import run, states_in
from tests.differential.golden_architectures import make
from tests.differential.logits_smollm2 import run_worker

pytestmark = pytest.mark.differential

# llama.cpp has no window for `llama`, and GGUF no SDAR.
NAMES = (
    "bert",
    "llama",
    "llama3",
    "llama_linear",
    "llama_biases",
    "llama_yarn",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt2",
    "gpt_oss",
    "dream",
    "llada",
)
# What llama.cpp does in place of what the model says: our side does it here as well.
FIELDS = {
    "phi3": {"window": None},
    "gpt_oss": {"rope_truncated": True},
}


@pytest.fixture(scope="module")
def fresh(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    make(oracle("torch"), folder, 31, *NAMES)
    return folder


def interleaved(rows, heads):
    """Rows of each head reordered so that halves become neighbours."""
    parts = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return np.ascontiguousarray(parts.swapaxes(1, 2)).reshape(rows.shape)


def tensors_of(checkpoint):
    """Our tensors as a GGUF file of this family holds them."""
    family, fields = checkpoint.architecture.family, checkpoint.architecture.fields
    found = {name: tensor.dequantize() for name, tensor in checkpoint.tensors.items()}
    for name, values in found.items():
        if family in ("llama", "llada") and ".attn_q." in name:
            found[name] = interleaved(values, fields["heads"])
        if family in ("llama", "llada") and ".attn_k." in name:
            found[name] = interleaved(values, fields["key_value_heads"])
        if fields.get("norms_less_one") and name.endswith("norm.weight"):
            found[name] = values + np.float32(1)
    if fields.get("rope_scaling") == "llama3":
        plain = frequencies(fields["rope_theta"], fields["head_width"])
        found["rope_freqs.weight"] = np.float32(plain / rope_of(fields, None).frequencies)
    return found


def write(path, checkpoint):
    """A GGUF file with the keys that our fields name."""
    import gguf

    architecture = checkpoint.architecture
    fields = dict(architecture.fields)
    name = FAMILIES[architecture.family].gguf_architectures[0]
    writer = gguf.GGUFWriter(path, name)
    if fields.get("rope_scaling") == "llama3":
        fields = {key: value for key, value in fields.items() if not key.startswith("rope_")}
        fields["rope_theta"] = architecture.fields["rope_theta"]
    if "window_period" in fields:
        writer.add_uint32(f"{name}.attention.sliding_window_pattern", fields["window_period"])
    for spec in FAMILIES[architecture.family].fields:
        value = fields.get(spec.name)
        if not spec.gguf or value is None:
            continue
        if spec.name == "pooling":
            value = 0
        kinds = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}
        kinds[type(value)](spec.gguf, value)
    if "head_width" in fields:
        writer.add_uint32(f"{name}.attention.value_length", fields["head_width"])
        writer.add_uint32(f"{name}.rope.dimension_count", fields["head_width"])
    if "experts" in fields and name == "qwen3moe":
        writer.add_uint32(f"{name}.feed_forward_length", 24)
    writer.add_string("tokenizer.ggml.model", "no_vocab")
    for key, values in tensors_of(checkpoint).items():
        writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("name", NAMES)
def test_both_read_the_same_model(oracle, fresh, tmp_path, monkeypatch, name):
    # llama.cpp computes BERT's GELU in its tanh form, whatever the model was trained with.
    monkeypatch.setattr(blocks, "gelu", ops.gelu_tanh)
    path = tmp_path / "float32.gguf"
    write(path, open_checkpoint(fresh / name))
    near, far = states_in(fresh / name), states_in(fresh / name, bound="half")
    np.save(tmp_path / "tokens.npy", np.array(near.tokens))
    theirs = run_worker(oracle("llama"), "llama_cpp", tmp_path)["theirs"]
    checkpoint = open_checkpoint(path)
    fields = {**checkpoint.architecture.fields, **FIELDS.get(name, {})}
    fields = {key: value for key, value in fields.items() if value is not None}
    architecture = dataclasses.replace(checkpoint.architecture, fields=fields)
    ours = run(dataclasses.replace(checkpoint, architecture=architecture), near.tokens)
    last = list(near.exact)[-1]
    stray = np.max(np.abs(ours[last] - theirs) / (near.bound[last] + far.bound[last]))
    print(f"{name}: {stray:.2g} of the bound")
    assert stray <= 1
