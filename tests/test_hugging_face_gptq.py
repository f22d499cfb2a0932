"""Checkpoints of GPTQ: words, groups by an index, and the same bits in `.rq`."""

import json

import numpy as np
import pytest

import refquant
from refquant.architectures import FAMILIES
from refquant.errors import FormatError, UnsupportedError
from refquant.formats import open_checkpoint
from refquant.formats.rq import read, tensors_digest, write_checkpoint
from refquant.runtime import load_model
from tests import safetensors_bytes as made

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def quantization(bits=4, group=32, **more):
    return {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": True} | more


def matrix(name, shape, stated, runs):
    """A matrix as GPTQ stores it, and the tensor that it is."""
    rows = ",words=rows" if stated["bits"] == 3 else ""
    group = f"group={stated['group_size']}" if stated["group_size"] > 0 else "channel"
    version = 2 if stated.get("checkpoint_format") == "gptq_v2" else 1
    order = "" if runs else ",order=act"
    scheme = f"gptq/int{stated['bits']}[v={version},asym,{group}{order}{rows}]"
    random = np.random.default_rng(len(name))
    importance = None if runs else random.random(shape[1])
    values = random.standard_normal(shape, np.float32)
    tensor = refquant.quantize(values, scheme, importance=importance)
    size = stated["group_size"] if stated["group_size"] > 0 else shape[1]
    index = (np.arange(shape[1], dtype="<i4") // size).tobytes()
    planes = {"g_idx": index} | {p: data.tobytes() for p, data in tensor.planes.items()}
    words = 32 // stated["bits"] if stated["bits"] != 3 else 32 / 3
    sizes = {
        "qweight": ("I32", (round(shape[1] / words), shape[0])),
        "qzeros": ("I32", (-(-shape[1] // size), round(shape[0] / words))),
        "scales": ("F16", (-(-shape[1] // size), shape[0])),
        "g_idx": ("I32", (shape[1],)),
    }
    base = name.removesuffix(".weight")
    return {f"{base}.{p}": (*sizes[p], planes[p]) for p in sizes}, tensor


def folder(path, stated, *, runs=False, change=None):
    """A checkpoint of a small llama, and its matrices as tensors by our names."""
    entries, tensors = {}, {}
    family = FAMILIES["llama"]
    for one in family.model_tensors(family.from_hugging_face(CONFIG)):
        if len(one.shape) == 2 and one.name.startswith("blk"):
            found, tensors[one.name] = matrix(one.hugging_face[0], one.shape, stated, runs)
            entries |= found
        else:
            raw = np.random.default_rng(0).standard_normal(one.shape).astype("<f2").tobytes()
            entries[one.hugging_face[0]] = ("F16", one.shape, raw)
    if change is not None:
        change(entries)
    config = {**CONFIG, "quantization_config": stated}
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    (path / "model.safetensors").write_bytes(made.build(entries))
    return tensors


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(
    "stated",
    [
        quantization(),
        quantization(8, -1),
        quantization(2, 32, checkpoint_format="gptq_v2"),
        quantization(3, 32, checkpoint_format="gptq", sym=False),
    ],
    ids=lambda stated: f"{stated['bits']}-bit",
)
def test_words_are_taken_as_they_are(stated, runs, tmp_path):
    expected = folder(tmp_path, stated, runs=runs)
    checkpoint = open_checkpoint(tmp_path)
    for name, tensor in expected.items():
        found = checkpoint.tensors[name]
        # A channel's only group is a run, whatever the order of its inputs was.
        by_index = not runs and stated["group_size"] > 0
        assert bool(found.scheme.operators) == (by_index or stated["bits"] == 3)
        assert ("order=act" in found.scheme.name) == by_index
        assert found.dequantize().tobytes() == tensor.dequantize().tobytes()
    write_checkpoint(tmp_path / "a.rq", checkpoint)
    stored = read(tmp_path / "a.rq", verify="full")
    assert tensors_digest(stored) == tensors_digest(checkpoint)
    for name in checkpoint.tensors:
        assert stored.tensors[name].scheme.name == checkpoint.tensors[name].scheme.name
    ids = [1, 5, 9]
    models = [load_model(one) for one in (checkpoint, stored)]
    first, second = (model.forward(ids, model.new_cache()) for model in models)
    assert first.tobytes() == second.tobytes()
    assert np.isfinite(first).all()


@pytest.mark.parametrize(
    "stated",
    [
        quantization(5),
        quantization("4"),
        quantization(4, 48),
        quantization(checkpoint_format="marlin"),
        quantization(dynamic={"-:.*": {}}),
    ],
)
def test_what_is_not_read_is_said(stated, tmp_path):
    folder(tmp_path, quantization())
    config = {**CONFIG, "quantization_config": stated}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(UnsupportedError, match="quantization_config"):
        open_checkpoint(tmp_path)


NAME = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize("part", ["qzeros", "scales", "g_idx"])
def test_parts_that_do_not_fit_are_refused(part, tmp_path):
    def change(entries):
        dtype, shape, raw = entries[f"{NAME}.{part}"]
        size = len(raw) // shape[-1]
        entries[f"{NAME}.{part}"] = (dtype, (*shape[:-1], shape[-1] - 1), raw[:-size])

    folder(tmp_path, quantization(), change=change)
    with pytest.raises(FormatError) as error:
        open_checkpoint(tmp_path)
    assert error.value.code == "E_HF_TENSOR"


def test_a_missing_index_means_runs(tmp_path):
    def change(entries):
        for name in [name for name in entries if name.endswith("g_idx")]:
            del entries[name]

    expected = folder(tmp_path, quantization(), runs=True, change=change)
    found = open_checkpoint(tmp_path)
    for name, tensor in expected.items():
        assert found.tensors[name].dequantize().tobytes() == tensor.dequantize().tobytes()


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_index_of_no_group_is_damage(wrong, tmp_path):
    def change(entries):
        dtype, shape, raw = entries[f"{NAME}.g_idx"]
        index = np.frombuffer(raw, "<i4").copy()
        index[7] = wrong
        entries[f"{NAME}.g_idx"] = (dtype, shape, index.tobytes())

    folder(tmp_path, quantization(), change=change)
    with pytest.raises(FormatError, match="input 7 names group") as error:
        open_checkpoint(tmp_path).tensors["blk.0.ffn_down.weight"]
    assert error.value.code == "E_HF_TENSOR"
