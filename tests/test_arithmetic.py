"""Integer arithmetic against scalar Python integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refquant.arithmetic import (
    FixedPoint,
    fixed_point,
    integer_matmul,
    litert_asymmetric,
    litert_symmetric,
    requantize_double_rounding,
    requantize_float,
    requantize_int64,
    requantize_single_rounding,
    saturating_cast,
    torchao_per_token,
    xnnpack_asymmetric,
)
from refquant.arithmetic.integer import exact_terms
from refquant.errors import SchemeError

ACCUMULATORS = np.array(
    [0, 1, -1, 2, -2, 3, -3, 127, -128, 2**30, -(2**30), 2**31 - 1, -(2**31), 2**24 + 1], np.int32
)


@pytest.mark.parametrize("inner", [1, 2, 3, 31, 32, 33, 1023, 1024, 1025, 4096, 65537])
def test_int8_products_equal_int64_at_every_length(inner):
    extreme = np.array(
        [[-128] * inner, [127] * inner, [-128, 127] * (inner // 2) + [1] * (inner % 2)]
    )
    left = extreme.astype(np.int8)
    expected = left.astype(np.int64) @ left.astype(np.int64).T
    assert integer_matmul(left, left).tolist() == expected.tolist()


def test_random_products_equal_int64():
    generator = np.random.default_rng(0)
    left = generator.integers(-128, 128, (17, 3001), dtype=np.int8)
    right = generator.integers(-8, 8, (23, 3001), dtype=np.int8)
    expected = left.astype(np.int64) @ right.astype(np.int64).T
    result = integer_matmul(left, right)
    assert result.dtype == np.int32
    assert (result == expected).all()


def test_a_piece_one_term_longer_would_not_be_exact():
    assert exact_terms(128, 128) == 1024
    assert 128 * 128 * 1025 > 2**24


def test_an_accumulator_that_can_overflow_is_refused():
    wide = np.full((1, 140_000), -128, np.int8)
    with pytest.raises(SchemeError, match="int32 accumulator"):
        integer_matmul(wide, wide)


def test_shapes_that_do_not_agree_are_refused():
    with pytest.raises(SchemeError, match=r"expected \[m, k\] and \[n, k\]"):
        integer_matmul(np.zeros((2, 3), np.int8), np.zeros((2, 4), np.int8))


def half_away(x: Fraction) -> int:
    return floor(x + Fraction(1, 2)) if x >= 0 else -floor(-x + Fraction(1, 2))


def scalar_double(x: int, by: FixedPoint) -> int:
    x <<= max(by.shift, 0)
    product = x * by.multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = nudged // 2**31 if nudged >= 0 else -(-nudged // 2**31)
    return half_away(Fraction(high, 2 ** max(-by.shift, 0)))


def scalar_single(x: int, by: FixedPoint) -> int:
    return floor(Fraction(x * by.multiplier, 2 ** (31 - by.shift)) + Fraction(1, 2))


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(2**30, 2**31 - 1),
    st.integers(-31, 0),
)
def test_fixed_point_products_equal_scalar_integers(x, multiplier, shift):
    by = FixedPoint(multiplier, shift)
    accumulator = np.array([x], np.int32)
    assert requantize_double_rounding(accumulator, by)[0] == scalar_double(x, by)
    assert requantize_single_rounding(accumulator, by)[0] == scalar_single(x, by)


@given(st.integers(-(2**47), 2**47 - 1), st.integers(2**30, 2**31 - 1), st.integers(-31, -16))
def test_wide_accumulators_use_a_sixteen_bit_multiplier(x, multiplier, shift):
    reduced = (multiplier + 2**15) // 2**16 if multiplier < 0x7FFF0000 else 0x7FFF
    expected = floor(Fraction(x * reduced, 2 ** (15 - shift)) + Fraction(1, 2))
    assert requantize_int64(np.array([x]), FixedPoint(multiplier, shift))[0] == expected


def test_two_roundings_and_one_differ_on_known_accumulators():
    by = FixedPoint(2**30, -1)
    accumulators = np.array([1, 3, 5, -1, -2, -3, -5, -6], np.int32)
    assert requantize_double_rounding(accumulators, by).tolist() == [1, 1, 2, 0, -1, -1, -1, -2]
    assert requantize_single_rounding(accumulators, by).tolist() == [0, 1, 1, 0, 0, -1, -1, -1]


@pytest.mark.parametrize("real", [0.0, 1.0, 0.5, 0.1, 1e-9, 1e-12, 3.75, 2.0**-31, 0.9999999999])
def test_fixed_point_is_the_nearest_31_bit_number(real):
    held = fixed_point(real)
    value = Fraction(held.multiplier) * Fraction(2) ** (held.shift - 31)
    if held.multiplier:
        assert 2**30 <= held.multiplier < 2**31
        assert abs(value - Fraction(real)) <= Fraction(2) ** (held.shift - 32)
    else:
        assert real < 2.0**-31


@pytest.mark.parametrize("real", [-1.0, float("nan"), float("inf")])
def test_impossible_multipliers_are_refused(real):
    with pytest.raises(SchemeError, match="multiplier"):
        fixed_point(real)


def test_float_requantization_rounds_ties_to_even_and_saturates():
    accumulator = np.array([1, 3, 5, -1, -3, 600, -600], np.int32)
    codes = requantize_float(accumulator, np.float32(0.5), 1, np.int8)
    assert codes.tolist() == [1, 3, 3, 1, -1, 127, -128]


def test_saturating_casts():
    floats = np.array([np.nan, np.inf, -np.inf, 1.9, -1.9, 127.99, 128, -128.5, -129], np.float32)
    assert saturating_cast(floats, np.int8).tolist() == [0, 127, -128, 1, -1, 127, 127, -128, -128]
    assert saturating_cast(np.array([300, -300, 5]), np.int8).tolist() == [127, -128, 5]
    assert saturating_cast(np.array([-1, 256]), np.uint8).tolist() == [0, 255]


QUANTIZERS = [litert_symmetric, litert_asymmetric, xnnpack_asymmetric, torchao_per_token]


@pytest.mark.parametrize("quantize", QUANTIZERS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e30])
def test_activations_come_back_within_half_a_step(quantize, scale):
    x = np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32) * np.float32(scale)
    rows = quantize(x)
    # A code is off by at most half a step; clipping at the nearer side and the binary32 operations
    # of the formula add at most another half.
    assert (np.abs(rows.dequantize() - x) <= rows.scale[:, None] * np.float32(1)).all()


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_a_row_of_zeros_stays_zero(quantize):
    assert not quantize(np.zeros((2, 8), np.float32)).dequantize().any()


def test_known_differences_between_the_contracts():
    x = np.array([[0.5, -1.0, 2.0, 3.0]], np.float32)
    torchao = [round(float(value), 4) for value in torchao_per_token(x).dequantize()[0]]
    assert torchao == [0.502, -1.0039, 1.9922, 2.9961]
    assert litert_symmetric(x).codes.tolist() == [[21, -42, 85, 127]]
    assert litert_symmetric(x).zero_point.tolist() == [0]
    assert xnnpack_asymmetric(x).zero_point.tolist() == [-64]
