"""Layers of SmolLM2 under every dynamic contract, against the engines that the contracts name.

Weights and activations are the model's own: what each matrix meets while it reads a sentence.
"""

import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from refquant import arithmetic
from refquant.formats import open_checkpoint
from refquant.formats.compute import MatrixContract
from refquant.runtime import Tokenizer, blocks, load_model
from refquant.runtime.coded import coded_matrix
from refquant.runtime.factors import factors_of
from refquant.runtime.linear import linear
from refquant.tensor import quantize

pytestmark = pytest.mark.differential

WORKERS = Path(__file__).parent / "workers"
TEXT = "The capital of France is Paris, and that of Spain"
LAYERS = (0, 14, 29)
KINDS = ("attn_q", "attn_output", "ffn_gate", "ffn_down")
MATRICES = [(layer, kind) for layer in LAYERS for kind in KINDS]


@cache
def meeting(path):
    """The tensors of the model, and the rows that each matrix of a layer reads."""
    checkpoint, met = open_checkpoint(path), []
    model = load_model(checkpoint)
    ids = Tokenizer(checkpoint.tokenizer).encode(TEXT)
    plain = blocks.linear

    def noting(x, w, bias=None):
        met.append(x.copy())
        return plain(x, w, bias)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "linear", noting)
        model.forward(ids, model.new_cache(len(ids)))
    assert len(met) == len(KINDS) * 30
    return checkpoint.tensors, met


def layer_of(path, layer, kind):
    tensors, met = meeting(path)
    tensor = tensors[f"blk.{layer}.{kind}.weight"]
    return tensor, met[layer * len(KINDS) + KINDS.index(kind)]


def ask(worker, python, folder, **request):
    question, answer = folder / "request.npz", folder / "answer.npz"
    np.savez(question, **request)
    command = [python, WORKERS / f"{worker}_worker.py", question, answer]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(answer) as found:
        return dict(found)


def check_blocks(ours, theirs, x, found):
    """Whether XNNPACK fuses, and counts activations as code + 128, is the processor's choice."""
    rows, none = arithmetic.xnnpack_asymmetric(x), np.zeros(len(found.codes), np.float32)
    variants = {
        (offset, fused): arithmetic.xnnpack_block_layer(
            rows, found.codes, found.scale, none, offset=offset, fused=fused
        )
        for offset in (0, 128)
        for fused in (True, False)
    }
    assert np.array_equal(ours, variants[0, True])
    assert any(np.array_equal(theirs, one) for one in variants.values())


@pytest.mark.parametrize(("layer", "kind"), MATRICES)
@pytest.mark.parametrize(
    ("scheme", "bits", "engines"),
    [
        ("aeq/int8", 8, {"litert_symmetric": ("builtin", "reference"),
                         "xnnpack_asymmetric": ("xnnpack",)}),
        ("aeq/int4", 4, {"litert_symmetric": ("reference",), "xnnpack_asymmetric": ("xnnpack",)}),
        ("aeq/int4[block=32]", 4, {"litert_asymmetric": ("builtin",),
                                   "xnnpack_asymmetric": ("xnnpack",)}),
    ],
)  # fmt: skip
def test_litert(layer, kind, scheme, bits, engines, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, kind)
    tensor = quantize(stored.dequantize(), scheme)
    found = factors_of(tensor)
    scale = found.scale.astype(np.float16) if "block" in scheme else found.scale[:, 0]
    asked = {"x": x, "codes": found.codes, "bits": bits, "scale": scale}
    theirs = ask("litert", oracle("aeq"), tmp_path, **asked)
    for contract, names in engines.items():
        ours = linear(x, coded_matrix(tensor, kind, MatrixContract(contract), tensor.dequantize))
        for name in names:
            if name == "xnnpack" and "block" in scheme:
                check_blocks(ours, theirs[name], x, found)
            else:
                assert np.array_equal(ours, theirs[name]), (contract, name)


@pytest.mark.parametrize(("layer", "kind"), MATRICES)
def test_litert_asymmetric_channels(layer, kind, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, kind)
    tensor = quantize(stored.dequantize(), "aeq/int8")
    found = factors_of(tensor)
    asked = {"x": x, "codes": found.codes, "bits": 8, "scale": found.scale[:, 0]}
    theirs = ask("litert", oracle("aeq"), tmp_path, asymmetric=True, **asked)
    ours = linear(
        x, coded_matrix(tensor, kind, MatrixContract("litert_asymmetric"), tensor.dequantize)
    )
    assert np.array_equal(ours, theirs["builtin"])
    assert np.array_equal(ours, theirs["reference"])


@pytest.mark.parametrize(("layer", "kind"), MATRICES)
def test_torchao(layer, kind, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, kind)
    weights = stored.dequantize()
    theirs = ask("torchao_tokens", oracle("torchao"), tmp_path, x=x, weights=weights, group=32)
    tensor = quantize(weights, "torchao/8da4w")
    assert np.array_equal(factors_of(tensor).codes, theirs["weight_codes"])
    ours = linear(
        x, coded_matrix(tensor, kind, MatrixContract("torchao_per_token"), tensor.dequantize)
    )
    # Both add products of the same binary32 numbers, in an order of their own.
    sizes = np.abs(theirs["values_eps"]).astype(float) @ np.abs(tensor.dequantize().T).astype(float)
    roundings = (x.shape[1] + 1) * 2.0**-24
    assert (np.abs(ours - theirs["output"]) <= 2 * roundings / (1 - roundings) * sizes).all()
    assert (np.abs(ours) > 0).any()


@pytest.mark.parametrize(("layer", "kind"), MATRICES)
@pytest.mark.parametrize("scheme", ["q4_1", "q4_0", "q8_0"])
def test_ggml(layer, kind, scheme, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, kind)
    if scheme != "q4_1":
        stored = quantize(stored.dequantize(), f"ggml/{scheme}")
    assert stored.scheme.name == f"ggml/{scheme}"
    other = "q8_1" if scheme == "q4_1" else "q8_0"
    rows, activations = len(stored.planes["blocks"]), quantize(x, f"ggml/{other}")
    ours = linear(x, coded_matrix(stored, kind, MatrixContract("ggml_block"), stored.dequantize))
    for token in (0, len(x) - 1):
        one = activations.planes["blocks"][token].reshape(1, -1)
        theirs = ask(
            "ggml_dot",
            oracle("ggml"),
            tmp_path,
            kind=scheme,
            other=other,
            n=x.shape[1],
            x=stored.planes["blocks"].reshape(rows, -1),
            y=np.repeat(one, rows, axis=0),
        )
        assert np.array_equal(ours[token], theirs["scalar"])
