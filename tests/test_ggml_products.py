"""Matrices under ggml's contracts: whole products beside the dot products of single rows."""

import numpy as np
import pytest

from refquant import arithmetic, quantize
from tests.tensor_parts import all_numbers
from tests.test_runtime_coded import under, values


def one_by_one(kind, w, a):
    """The dot product of one row with one row, as `arithmetic.block_dot` has it."""
    codes = w["q"] - {"q4_0": 8, "q5_0": 16, "q6_k": 32}.get(kind, 0)
    if kind in ("q4_1", "q5_1"):
        s = a["s"].astype(np.uint16).view(np.float16).astype(np.float32)
        return arithmetic.ggml_offset_dot(codes, w["d"], w["m"], a["q"], a["d"], s)
    if kind == "q4_0":
        return arithmetic.ggml_q4_0_dot(codes, w["d"], a["q"], a["d"])
    if not kind.endswith("k"):
        return arithmetic.ggml_scaled_dot(codes, w["d"], a["q"], a["d"])
    minima = (w["dmin"], w["mn"], a["s"]) if "mn" in w else None
    return arithmetic.ggml_super_dot(codes, w["d"], w["sc"], a["q"], a["d"], minima=minima)


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"])
def test_ggml_products(kind, tokens, monkeypatch):
    monkeypatch.setattr("refquant.runtime.ggml_product._TILE", 512 * 16)
    x = values(tokens, 512, 2)
    tensor, y = under("ggml_block", f"ggml/{kind}", x)
    other = "q8_k" if kind.endswith("k") else "q8_1" if kind.endswith("_1") else "q8_0"
    w, a = all_numbers(tensor), all_numbers(quantize(x, f"ggml/{other}"))
    for token in range(tokens):
        repeated = {n: np.repeat(v[token : token + 1], 40, axis=0) for n, v in a.items()}
        assert np.array_equal(y[token], one_by_one(kind, w, repeated))


def rounded_as_by_x86(x):
    """One block of 32, number by number: 127 / amax, ties to even."""
    amax = max(abs(one) for one in x)
    factor = np.float32(127) / amax if amax else np.float32(0)
    codes = [round(float(np.float32(one * factor))) for one in x]
    scale = amax / np.float32(127)
    return codes, np.float16(scale), np.float16(scale * np.float32(sum(codes)))


def test_blocks_of_x86():
    x = values(8, 32, 2)
    x[1] = 0
    x[2] = np.arange(32) - 15.5
    x[2, 0] = 127  # all others are ties
    found = arithmetic.ggml_x86_blocks(x.reshape(2, 128))
    expected = [rounded_as_by_x86(row) for row in x]
    for row, (codes, scale, total) in enumerate(expected):
        assert found.codes.reshape(8, 32)[row].tolist() == codes
        assert found.scale.reshape(8)[row] == scale
        assert found.total.reshape(8)[row] == total
    assert found.codes.reshape(8, 32)[2, 15:18].tolist() == [0, 0, 2]
    assert quantize(x, "ggml/q8_0").planes["blocks"][2, 0, 17:20].view(np.int8).tolist() == [
        -1,
        1,
        2,
    ]


@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q5_0", "q8_0", "q4_k"])
def test_products_of_x86(kind):
    x = values(3, 256, 2)
    x[0] = np.round(x[0] * 40) / 2  # ties
    x[0, ::32] = 127
    tensor, y = under("ggml_x86", f"ggml/{kind}", x)
    if kind == "q4_k":
        assert np.array_equal(y, under("ggml_block", f"ggml/{kind}", x)[1])
        return
    found, w = arithmetic.ggml_x86_blocks(x), all_numbers(tensor)
    halves = found.total.astype(np.float16).view(np.uint16)
    for token in range(3):
        a = {"q": found.codes.astype(np.int32), "d": found.scale, "s": halves}
        repeated = {n: np.repeat(v[token : token + 1], 40, axis=0) for n, v in a.items()}
        assert np.array_equal(y[token], one_by_one(kind, w, repeated))
    assert not np.array_equal(y, under("ggml_block", f"ggml/{kind}", x)[1])
