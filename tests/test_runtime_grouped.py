"""Matrices of bytes and scales compute what their decoded rows compute."""

import numpy as np
import pytest

from refquant.runtime import grouped as module
from refquant.runtime import load_model
from refquant.runtime.arithmetic_mode import arithmetic
from refquant.runtime.grouped import GroupedMatrix, grouped
from refquant.runtime.linear import linear
from refquant.runtime.packed import PackedMatrix
from refquant.runtime.scratch import Scratch
from refquant.runtime.stacked import StackedMatrix
from refquant.runtime.weights import WeightReader
from refquant.tensor import quantize
from tests.roundings import gamma
from tests.runtime_models import random_checkpoint
from tests.runtime_oracle import exact_logits

SCHEMES = [
    "aeq/int8",
    "torchao/8da4w",
    "tract/q40",
    "mlx/affine[bits=4,group=64]",
    *(f"ggml/{kind}" for kind in ("q4_0", "q4_1", "q5_1", "q8_0", "q2_k", "q4_k", "q6_k")),
]


FOUR_BITS = {
    "torchao/8da4w",
    "tract/q40",
    "mlx/affine[bits=4,group=64]",
    *(f"ggml/{kind}" for kind in ("q4_0", "q4_1", "q2_k", "q4_k")),
}


def matrix(rows, columns, scheme, seed=0):
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return quantize(values, scheme)


def rows_of(tokens, columns):
    return np.random.default_rng(9).standard_normal((tokens, columns)).astype(np.float32)


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("tokens", [1, 3, 20])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_products(scheme, tokens, pack, monkeypatch):
    monkeypatch.setattr(module, "TILE_WEIGHTS", 17 * 256)
    parts = [matrix(40, 256, scheme), matrix(9, 256, scheme, seed=1)]
    held, x = grouped(parts, Scratch(), pack=pack), rows_of(tokens, 256)
    dense = np.concatenate([part.dequantize() for part in parts])
    assert held.shape == dense.shape
    assert held.bounds == (0, 16, 32, 48, 49)
    assert held.tiles[0].nibbles == (pack and scheme in FOUR_BITS)
    bias = rows_of(1, 49)[0]
    exact = x.astype(np.float64) @ dense.T.astype(np.float64) + bias
    # The parts of a weight are added on their own: what they cancel counts in the bound.
    sizes = np.abs(x).astype(np.float64) @ parts_of_weights(held).T + np.abs(bias)
    assert np.all(np.abs(linear(x, held, bias) - exact) <= gamma(256 + 8) * sizes)
    assert np.abs(exact).max() > 1


def parts_of_weights(held):
    """|scale * code| + |minimum| of every weight [n, k]."""
    columns = []
    for tile in held.tiles:
        size = np.abs(tile.numbers(Scratch()) * tile.scale.astype(np.float64))
        size += 0 if tile.minimum is None else np.abs(tile.minimum)
        columns.append(size.reshape(held.shape[1], -1))
    return np.concatenate(columns, axis=1).T


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scaled_tile_holds_the_values_of_the_scheme(scheme, pack):
    tensor = matrix(20, 256, scheme)
    with arithmetic("exact"):
        held = grouped([tensor], Scratch(), pack=pack)
        decoded = linear(np.eye(256, dtype=np.float32), held)
    assert np.array_equal(decoded.T, tensor.dequantize())


def test_exact_products_do_not_depend_on_how_weights_are_held():
    tensor, x = matrix(20, 256, "ggml/q4_1"), rows_of(2, 256)
    with arithmetic("exact"):
        assert np.array_equal(
            linear(x, grouped([tensor], Scratch())), linear(x, tensor.dequantize())
        )


def test_what_is_no_bytes_times_scales():
    assert grouped([matrix(4, 64, "ggml/mxfp4")], Scratch()) is None
    assert grouped([matrix(4, 64, "awq/int4[group=32]")], Scratch()) is None
    unlike = [matrix(4, 64, "ggml/q4_0"), matrix(4, 64, "ggml/q4_1")]
    assert grouped(unlike, Scratch()) is None
    assert all(grouped([one], Scratch()) is not None for one in unlike)


def reader_of(mode, schemes):
    checkpoint = random_checkpoint("float/f32", width=32, head_width=8, feedforward_width=64)
    tensors = dict(checkpoint.tensors)
    for name, scheme in schemes.items():
        tensors[name] = quantize(tensors[name].dequantize(), scheme)
    object.__setattr__(checkpoint, "tensors", tensors)
    return WeightReader(checkpoint, mode)


@pytest.mark.parametrize(
    ("mode", "schemes", "kind"),
    [
        ("auto", ("ggml/q4_0", "ggml/q4_0"), GroupedMatrix),
        ("auto", ("ggml/q4_0", "ggml/q4_1"), StackedMatrix),
        ("auto", ("ggml/q4_0", "float/f16"), StackedMatrix),
        ("auto", ("float/f16", "float/f32"), np.ndarray),
        ("float32", ("ggml/q4_0", "ggml/q4_0"), np.ndarray),
        ("packed", ("ggml/q4_1", "ggml/q4_1"), GroupedMatrix),
        ("packed", ("ggml/q8_0", "ggml/q8_0"), GroupedMatrix),
        ("packed", ("ggml/q5_1", "ggml/q5_1"), PackedMatrix),
    ],
)
def test_modes(mode, schemes, kind):
    names = ("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight")
    reader = reader_of(mode, dict(zip(names, schemes, strict=True)))
    held = reader.matrix(*names)
    dense = reader_of("float32", dict(zip(names, schemes, strict=True))).matrix(*names)
    assert isinstance(held, kind)
    x = np.eye(32, dtype=np.float32)
    assert np.abs(linear(x, held) - dense.T).max() <= gamma(8) * 2 * np.abs(dense).max()


@pytest.mark.parametrize("mode", ["auto", "u8", "packed"])
@pytest.mark.parametrize("scheme", ["ggml/q4_1", "aeq/int8", "float/bf16", "ggml/mxfp4"])
def test_models_agree_whatever_the_mode(mode, scheme):
    checkpoint = random_checkpoint(scheme, width=32, head_width=8, feedforward_width=64)
    wanted, bound = exact_logits(checkpoint, (1, 5, 7))
    model = load_model(checkpoint, mode)
    assert np.all(np.abs(model.forward([1, 5, 7], model.new_cache(3)) - wanted) <= bound)
    exact = [
        model.forward([1, 5, 7], model.new_cache(3))
        for model in (load_model(checkpoint, one, "exact") for one in (mode, "float32"))
    ]
    assert np.array_equal(*exact)
