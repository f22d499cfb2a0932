"""Block dot products and ggml's C: scalar functions bit for bit, vector ones within a bound."""

import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant import arithmetic
from tests.tensor_parts import all_numbers

pytestmark = pytest.mark.differential

WORKERS = Path(__file__).parent / "workers"
ROWS = 64
ZERO = {"q4_0": 8, "q5_0": 16, "q6_k": 32}
SIMPLE = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")
SUPER = ("q4_k", "q5_k", "q6_k")


def operands(blocks, size, seed=3):
    """Rows of normal, spread and positive weights, beside unlike activations."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(ROWS, blocks * size)) * np.exp(generator.normal(size=(ROWS, 1)))
    y = generator.normal(size=(ROWS, blocks * size)) * np.exp(generator.normal(size=(ROWS, 1)) * 3)
    x[::4] = np.abs(x[::4]) + 1
    y[::5] += 2
    x[-1], y[-2] = 0, 0
    return x.astype(np.float32), y.astype(np.float32)


def sum_of_q8_1(w):
    return w["s"].astype(np.uint16).view(np.float16).astype(np.float32)


def dot(kind, w, a):
    """Our result, and the magnitudes of the binary32 terms that it adds."""
    codes = w["q"] - ZERO.get(kind, 0)
    size = codes.shape[-1] // w["d"].shape[-1]
    if kind in SIMPLE:
        partial = arithmetic.block_partials(abs(codes), abs(a["q"]), w["d"].shape[-1])
        sizes = abs(w["d"].astype(float) * a["d"]) * partial
        if kind in ("q4_1", "q5_1"):
            s = sum_of_q8_1(a)
            ours = arithmetic.ggml_offset_dot(codes, w["d"], w["m"], a["q"], a["d"], s)
            return ours, sizes.sum(-1) + abs(w["m"].astype(float) * s).sum(-1)
        function = arithmetic.ggml_q4_0_dot if kind == "q4_0" else arithmetic.ggml_scaled_dot
        return function(codes, w["d"], a["q"], a["d"]), sizes.sum(-1)
    each = np.repeat(abs(w["sc"]), codes.shape[-1] // w["sc"].shape[-1], axis=-1)
    partial = (each * abs(codes) * abs(a["q"])).reshape(ROWS, -1, size).sum(-1)
    sizes = (abs(w["d"].astype(float) * a["d"]) * partial).sum(-1)
    minima = None
    if "mn" in w:
        minima = (w["dmin"], w["mn"], a["s"])
        least = np.repeat(w["mn"], 2, axis=-1) * abs(a["s"])
        sizes += (abs(w["dmin"].astype(float) * a["d"]) * least.reshape(ROWS, -1, 16).sum(-1)).sum(
            -1
        )
    ours = arithmetic.ggml_super_dot(codes, w["d"], w["sc"], a["q"], a["d"], minima=minima)
    return ours, sizes


def exact(kind, w, a):
    """The same fields multiplied in binary64, whose error is beyond notice here."""
    codes = (w["q"] - ZERO.get(kind, 0)).astype(float)
    blocks = w["d"].shape[-1]
    d = w["d"].astype(float) * a["d"]
    if kind in SIMPLE:
        result = d * (codes * a["q"]).reshape(ROWS, blocks, -1).sum(-1)
        if "m" in w:
            result += w["m"].astype(float) * sum_of_q8_1(a)
        return result.sum(-1)
    each = np.repeat(w["sc"], codes.shape[-1] // w["sc"].shape[-1], axis=-1)
    result = d * (each * codes * a["q"]).reshape(ROWS, blocks, -1).sum(-1)
    if "mn" in w:
        least = (np.repeat(w["mn"], 2, axis=-1) * a["s"]).reshape(ROWS, blocks, -1).sum(-1)
        result -= w["dmin"].astype(float) * a["d"] * least
    return result.sum(-1)


def answer_of_c(python, folder, kinds, weights, activations):
    """The products of ggml's scalar function, and of the one for this processor."""
    question, answer = folder / "request.npz", folder / "answer.npz"
    rows = {"x": weights, "y": activations}
    rows = {name: one.planes["blocks"].reshape(ROWS, -1) for name, one in rows.items()}
    np.savez(question, **kinds, **rows)
    command = [python, WORKERS / "ggml_dot_worker.py", question, answer]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(answer) as found:
        return dict(found)


@pytest.mark.parametrize("blocks", [1, 2, 9])
@pytest.mark.parametrize("kind", SIMPLE + SUPER)
def test_dot_products(kind, blocks, oracle, tmp_path):
    size = 256 if kind in SUPER else 32
    other = "q8_K" if kind in SUPER else "q8_1" if kind in ("q4_1", "q5_1") else "q8_0"
    x, y = operands(blocks, size)
    weights = refquant.quantize(x, f"ggml/{kind}")
    activations = refquant.quantize(y, f"ggml/{other.lower()}")
    kinds = {"kind": kind.replace("_k", "_K"), "other": other, "n": blocks * size}
    theirs = answer_of_c(oracle("ggml"), tmp_path, kinds, weights, activations)
    w, a = all_numbers(weights), all_numbers(activations)
    ours, sizes = dot(kind, w, a)
    if kind == "q5_0" and not np.array_equal(ours, theirs["scalar"]):
        # GCC 12 with AVX-512 VNNI multiplies this loop's signed codes as unsigned ones; the order
        # of scales can still be compared. The library itself never calls this function there.
        misread = (w["q"] - 16) & 255
        wrong = arithmetic.ggml_scaled_dot(misread, w["d"], a["q"], a["d"])
        assert np.array_equal(wrong, theirs["scalar"])
    else:
        assert np.array_equal(ours, theirs["scalar"])
    # However the terms are grouped and fused, each meets at most three products and every
    # addition: 16 partial sums a block, for weights and minima, and 16 to join them.
    roundings = 3 + 2 * 16 * blocks + 16
    bound = roundings * 2.0**-24 / (1 - roundings * 2.0**-24) * sizes
    for result in (ours, theirs["processor"]):
        assert (abs(result - exact(kind, w, a)) <= bound).all()


def awkward_rows():
    """Rows of many sizes, and rows where most codes are ties: halves of a 127th."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=(400, 96)) * 2.0 ** generator.integers(-140, 100, (400, 1))
    ties = generator.integers(-253, 254, (200, 96)) / 2
    ties[:, ::32] = 127
    ties *= 2.0 ** generator.integers(-90, 90, (200, 1))
    x[::50, 32:64] = 0
    return np.concatenate([x, ties]).astype(np.float32)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors round otherwise")
def test_rows_on_x86(oracle, tmp_path):
    x = awkward_rows()
    question, answer = tmp_path / "request.npz", tmp_path / "answer.npz"
    np.savez(question, x=x)
    worker = WORKERS / "ggml_rows_worker.py"
    subprocess.run([oracle("ggml"), worker, question, answer], check=True, capture_output=True)
    ours = arithmetic.ggml_x86_blocks(x)
    with np.load(answer) as found:
        for name, start in (("q8_0", 2), ("q8_1", 4)):
            blocks = found[name].reshape(len(x), 3, -1)
            scale = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
            assert np.array_equal(ours.scale, scale.astype(np.float32)), name
            codes = blocks[..., start:].view(np.int8)
            kept = scale > 0  # of a block whose scale is 0, C leaves any codes
            assert np.array_equal(ours.codes.reshape(codes.shape)[kept], codes[kept]), name
        total = np.ascontiguousarray(blocks[..., 2:4]).view(np.float16)[..., 0]
    assert np.array_equal(ours.total, total.astype(np.float32))
    plain = refquant.quantize(x, "ggml/q8_0").planes["blocks"].reshape(len(x), 3, -1)
    assert (plain[..., 2:].view(np.int8) != codes).sum() > 1000
