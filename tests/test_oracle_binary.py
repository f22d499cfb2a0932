"""The scalar arithmetic of the oracles agrees with the hardware's and with ml_dtypes."""

import math
from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.oracle import binary

FORMATS = {
    ml_dtypes.float4_e2m1fn: binary.FLOAT4_E2M1,
    ml_dtypes.float6_e2m3fn: binary.FLOAT6_E2M3,
    ml_dtypes.float6_e3m2fn: binary.FLOAT6_E3M2,
    ml_dtypes.float8_e4m3fn: binary.FLOAT8_E4M3FN,
    ml_dtypes.float8_e4m3fnuz: binary.FLOAT8_E4M3FNUZ,
    ml_dtypes.float8_e5m2: binary.FLOAT8_E5M2,
    ml_dtypes.float8_e5m2fnuz: binary.FLOAT8_E5M2FNUZ,
    ml_dtypes.float8_e8m0fnu: binary.FLOAT8_E8M0,
    ml_dtypes.bfloat16: binary.BFLOAT16,
    np.float16: binary.FLOAT16,
}

any_float32 = st.integers(0, 2**32 - 1).map(binary.float32_from_bits)
ordinary = st.floats(width=32, allow_nan=True)
float32s = st.one_of(any_float32, ordinary)


def same(left, right):
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right and math.copysign(1, left) == math.copysign(1, right)


@pytest.mark.parametrize("dtype", FORMATS, ids=lambda dtype: dtype.__name__)
def test_every_code_decodes_as_in_the_package(dtype):
    form = FORMATS[dtype]
    width = np.dtype(f"u{np.dtype(dtype).itemsize}")
    with np.errstate(invalid="ignore"):
        theirs = np.arange(1 << form.bits).astype(width).view(dtype).astype(np.float64)
    for code, value in enumerate(theirs.tolist()):
        assert same(binary.decode(code, form), value), (code, value)


def test_the_largest_code_is_followed_by_none_that_is_finite():
    for form in {*FORMATS.values(), binary.FLOAT32}:
        largest = binary.largest_code(form)
        assert math.isfinite(binary.decode(largest, form))
        ones = (1 << (form.exponent + form.mantissa)) - 1
        assert largest == ones or not math.isfinite(binary.decode(largest + 1, form))


@pytest.mark.parametrize(
    "dtype",
    [d for d in FORMATS if d is not ml_dtypes.float8_e8m0fnu],
    ids=lambda dtype: dtype.__name__,
)
def test_encoding_agrees_at_every_tie_and_beside_it(dtype):
    form = FORMATS[dtype]
    step = 1 if form.bits <= 8 else 97
    finite = sorted(
        {
            value
            for code in range(0, 1 << form.bits, step)
            if math.isfinite(value := binary.decode(code, form))
        }
    )
    ties = [(a + b) / 2 for a, b in pairwise(finite)]
    beyond = [-3e38, -0.0, 0.0, 1e-45, finite[-1] * 1.0624, finite[-1] * 1.0626, 3e38]
    probes = np.array([*finite, *ties, *beyond, math.inf, -math.inf], np.float32)
    probes = np.concatenate(
        [probes, np.nextafter(probes, np.float32(9)), np.nextafter(probes, np.float32(-9))]
    )
    if form.specials == "none":
        probes = probes[np.isfinite(probes)]
    with np.errstate(over="ignore"):
        theirs = probes.astype(dtype).view(f"u{np.dtype(dtype).itemsize}").tolist()
    for value, code in zip(probes.tolist(), theirs, strict=True):
        ours = binary.encode(value, form)
        assert ours == code or math.isnan(binary.decode(ours, form)), (value, ours, code)


@given(float32s, float32s)
@example(-0.0, 0.0)
@example(2.0**-149, 0.5)
@example(float.fromhex("0x1.fffffep127"), float.fromhex("0x1.fffffep127"))
def test_operators_round_as_the_hardware_does(left, right):
    a, b = np.float32(left), np.float32(right)
    with np.errstate(all="ignore"):
        assert same(binary.add(left, right), float(a + b))
        assert same(binary.subtract(left, right), float(a - b))
        assert same(binary.multiply(left, right), float(a * b))
        assert same(binary.divide(left, right), float(a / b))
        assert same(binary.square_root(left), float(np.sqrt(a)))


@given(st.floats())
@example(2.0**128 - 2.0**103)
@example(float.fromhex("0x1.fffffefffffffp127"))
@example(2.0**-150)
@example(-(2.0**-150))
def test_rounding_to_binary32(value):
    with np.errstate(over="ignore"):
        assert same(binary.f32(value), float(np.float32(value)))


def test_roundings_differ_at_ties_only():
    halves = [Fraction(n, 2) for n in range(-5, 6, 2)]
    assert [binary.half_even(h) for h in halves] == [-2, -2, 0, 0, 2, 2]
    assert [binary.half_away(h) for h in halves] == [-3, -2, -1, 1, 2, 3]
    assert [binary.half_up(h) for h in halves] == [-2, -1, 0, 1, 2, 3]
    assert [binary.toward_zero(h) for h in halves] == [-2, -1, 0, 0, 1, 2]
    below = Fraction(1, 2) - Fraction(1, 2**60)
    assert {f(below) for f in (binary.half_even, binary.half_away, binary.half_up)} == {0}


def test_saturation_and_missing_specials():
    assert (
        binary.decode(binary.encode(1e9, binary.FLOAT8_E4M3FN, "saturate"), binary.FLOAT8_E4M3FN)
        == 448
    )
    assert binary.decode(binary.encode(-1e9, binary.FLOAT4_E2M1), binary.FLOAT4_E2M1) == -6
    assert binary.encode(-1e-30, binary.FLOAT8_E4M3FNUZ) == 0
    with pytest.raises(ValueError, match="has no NaN"):
        binary.encode(math.nan, binary.FLOAT4_E2M1)
    with pytest.raises(ValueError, match="rule of each scheme"):
        binary.encode(1.0, binary.FLOAT8_E8M0)
