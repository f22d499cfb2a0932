"""torch-to-nnef's formats: bytes that the package gave, and the scalar oracle on every input."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import t2n as oracle
from tests.group_oracle import check_cases

STEPS = np.arange(32, dtype=np.float32)
ROWS = np.stack(
    [
        (STEPS - 16) / 4,
        (15 - STEPS) / 4,
        np.where(STEPS % 2 == 0, STEPS, -STEPS) / 1024,
        (STEPS - 16) * np.float32(7 * 2.0**-20),
        (STEPS - 7) * 20000,
        -(STEPS * 0),
    ]
).astype(np.float32)

GOLDEN = {
    "t2n/q40": (
        "00b88f8f7f7f6e6e5d5d4c4c3b3b2a2a1919 00b89191a2a2b3b3c4c4d5d5e6e6f7f7f8f8"
        "c09b48c837d937d926ea26ea15fb15fb04fc e0800f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "53fb5a5a4a49493938382827271716160605 008088888888888888888888888888888888"
    ),
    "t2n/q40_legacy": (
        "00b8ffffeeddccbbaa998877665544332211 00b8112233445566778899aabbccddeeffff"
        "c09b889797a6a6b5b5c4c4d3d3e2e2f1f1f0 e080ffffffffffffffff0000000000000000"
        "53fbaa9a9988787766565544343322121100 008088888888888888888888888888888888"
    ),
}
"""Bytes of torch_to_nnef 0.24.12; tests/differential/test_t2n.py compares many more."""

ORACLES = {
    "t2n/q40[mode=strict]": partial(oracle.q40, mode="strict"),
    "t2n/q40[mode=fixed]": partial(oracle.q40, mode="fixed"),
    **{
        f"t2n/q40[mode=strict,percentile={p}]": partial(oracle.q40, mode="strict", percentile=p)
        for p in (1, 37, 50, 90, 99)
    },
    "t2n/q40_legacy[mode=fixed,percentile=75]": partial(oracle.q40, mode="fixed", percentile=75),
    "t2n/q40_legacy[mode=strict]": partial(oracle.q40, mode="strict"),
    "t2n/q40_legacy[mode=fixed]": partial(oracle.q40, mode="fixed"),
    "t2n/qint8": oracle.qint8,
    "t2n/quint8[zero=fused]": partial(oracle.quint8, zero="fused"),
    "t2n/quint8[zero=after]": partial(oracle.quint8, zero="after"),
    "t2n/quint8[zero=tract]": partial(oracle.quint8, zero="tract"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_of_the_package(name):
    planes = refquant.quantize(ROWS, name).planes
    assert planes["blocks"].tobytes() == bytes.fromhex(GOLDEN[name])


@pytest.mark.parametrize("name", ORACLES)
def test_every_input_as_the_scalar_oracle(name):
    assert check_cases(refquant.scheme(name), ORACLES[name]) >= 14


def test_small_groups_collapse_in_strict_mode_alone():
    x = ROWS[3:4]
    strict = refquant.quantize(x, "t2n/q40").dequantize()
    fixed = refquant.quantize(x, "t2n/q40[mode=fixed]").dequantize()
    amax = np.abs(x).max()
    assert np.abs(strict - x).max() > 0.99 * amax
    assert np.abs(fixed - x).max() <= amax / 7


def test_a_negative_extreme_is_clipped_and_a_positive_one_exact():
    assert refquant.quantize(ROWS[:1], "t2n/q40").dequantize().min() == -3.5
    assert refquant.quantize(-ROWS[:1], "t2n/q40").dequantize().max() == 4


def test_scales_beyond_float16_are_infinite_in_strict_mode_and_finite_in_fixed_mode():
    x = np.full((1, 32), 1e6, np.float32)
    assert np.isnan(refquant.quantize(x, "t2n/q40").dequantize()).all()
    fixed = refquant.quantize(x, "t2n/q40[mode=fixed]")
    assert fixed.planes["blocks"].tobytes()[:2] == bytes.fromhex("fffb")
    assert (fixed.dequantize() == 8 * 65504).all()


def test_eight_bits_as_torch_gave_them():
    codes = [0, 9, 17, 25, 33, 42, 50, 58, 66, 74, 83, 91, 99, 107, 116, 124, 132, 140, 148, 157]
    codes += [165, 173, 181, 190, 198, 206, 214, 222, 231, 239, 247, 255]
    found = refquant.quantize(ROWS[:1], "t2n/quint8")
    assert found.planes["codes"].ravel().tolist() == codes
    assert found.planes["zero_points"].ravel().tolist() == [132]
    assert found.planes["scales"].view("<f4").item() == np.float32(0.030392156913876534)
    signed = refquant.quantize(ROWS[:2], "t2n/qint8")
    assert signed.planes["codes"].view(np.int8)[0, :2, 0].tolist() == [-127, -120]
    assert signed.planes["scales"].view("<f4").item() == np.float32(0.0313725508749485)
