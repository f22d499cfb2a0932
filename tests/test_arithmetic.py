"""Integer arithmetic against scalar Python integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refquant.arithmetic import (
    FixedPoint,
    QuantizedRows,
    block_sums,
    fixed_point,
    fused_multiply_add,
    integer_matmul,
    litert_asymmetric,
    litert_block_layer,
    litert_int4_layer,
    litert_layer,
    litert_symmetric,
    requantize_double_rounding,
    requantize_float,
    requantize_int64,
    requantize_real,
    requantize_single_rounding,
    requantize_ties_up,
    saturating_cast,
    torchao_layer,
    torchao_per_token,
    xnnpack_asymmetric,
    xnnpack_block_layer,
    xnnpack_layer,
)
from refquant.arithmetic.integer import exact_terms
from refquant.errors import SchemeError
from tests.activation_rows import extreme_rows

ACCUMULATORS = np.array(
    [0, 1, -1, 2, -2, 3, -3, 127, -128, 2**30, -(2**30), 2**31 - 1, -(2**31), 2**24 + 1], np.int32
)


@pytest.mark.parametrize(
    "inner", [0, 1, 2, 3, 31, 32, 33, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 65537]
)
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


@pytest.mark.parametrize("outputs", [0, 1, 511, 512, 513, 1025])
@pytest.mark.parametrize("inner", [1024, 1025])
def test_products_equal_int64_at_every_edge_of_a_tile(outputs, inner):
    generator = np.random.default_rng(outputs)
    left = np.where(generator.random((3, inner)) < 0.9, -128, 127).astype(np.int8)
    right = np.where(generator.random((outputs, inner)) < 0.9, -128, 127).astype(np.int8)
    expected = left.astype(np.int64) @ right.astype(np.int64).T
    assert integer_matmul(left, right).tolist() == expected.tolist()


@pytest.mark.parametrize("inner", [16383, 16384, 16385, 16512, 16513, 32768, 33001])
def test_int4_products_equal_int64_at_every_edge(inner):
    left = np.full((2, inner), -128, np.int8)
    left[1, ::2] = 127
    right = np.full((3, inner), -8, np.int8)
    right[1, 1::2] = 7
    right[2] = 7
    expected = left.astype(np.int64) @ right.astype(np.int64).T
    assert integer_matmul(left, right).tolist() == expected.tolist()
    assert integer_matmul(right, left).tolist() == expected.T.tolist()


def test_wider_codes_are_multiplied_exactly_or_refused():
    left = np.full((1, 600), 4095, np.int16)
    left[0, ::3] = -4095
    with pytest.raises(SchemeError, match="int32 accumulator"):
        integer_matmul(left, left)
    assert integer_matmul(left[:, :100], left[:, :100])[0, 0] == 4095**2 * 100
    with pytest.raises(SchemeError, match="no exact product"):
        integer_matmul(np.full((1, 1), 4097, np.int16), np.full((1, 1), 4096, np.int16))


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


def test_asymmetric_litert_rounds_half_away_before_it_adds_the_zero_point():
    x = np.array([[0, 255, 68.5, 69.5, 9.5]], np.float32)
    assert litert_asymmetric(x).zero_point.tolist() == [-128]
    assert litert_asymmetric(x).codes.tolist() == [[-128, 127, -59, -58, -118]]


@pytest.mark.parametrize(
    ("quantize", "low", "high", "zero"),
    [
        (litert_asymmetric, -0.10490011423826218, 0.033340346068143845, 65),
        (litert_asymmetric, -0.3615950644016266, 0.7838302850723267, -47),
        (xnnpack_asymmetric, -0.13210485875606537, 0.13210487365722656, 0),
        (xnnpack_asymmetric, -0.6404226422309875, 0.1581483632326126, 76),
        (xnnpack_asymmetric, -0.5356693863868713, 0.22957256436347961, 51),
    ],
)
def test_the_side_that_a_zero_point_is_taken_from_matters(quantize, low, high, zero):
    # Taken from the other side each of these would be one more or one less.
    assert quantize(np.array([[low, high]], np.float32)).zero_point.tolist() == [zero]


def test_symmetric_litert_never_uses_the_least_code():
    assert litert_symmetric(extreme_rows(16)).codes.min() == -127


def test_asymmetric_litert_takes_the_range_in_binary32():
    x = np.random.default_rng(1).normal(size=(64, 2)).astype(np.float32)
    x[:, 0] = -np.abs(x[:, 0])
    x[:, 1] = np.abs(x[:, 1])
    rounded = (np.asarray(x[:, 1] - x[:, 0], np.float64) / 255).astype(np.float32)
    exact = ((x[:, 1].astype(np.float64) - x[:, 0]) / 255).astype(np.float32)
    assert (litert_asymmetric(x).scale == rounded).all()
    assert (rounded != exact).any()


@pytest.mark.parametrize("quantize", QUANTIZERS)
def test_no_row_is_too_small_or_too_large_for_codes(quantize):
    x = extreme_rows(16)
    codes = quantize(x).codes
    assert codes.dtype == np.int8
    zero = quantize(x).zero_point
    columns = np.broadcast_to(zero[:, None], x.shape)
    assert (codes == columns)[x == 0].all()


def fraction(x) -> Fraction:
    return Fraction(float(x))


def nearest(exact: Fraction) -> float:
    """The nearest binary32 number, ties to even, by trying the neighbours of a first guess."""
    guess = np.float32(float(exact))
    tried = [np.nextafter(guess, np.float32(side)) for side in (-np.inf, np.inf)] + [guess]
    return float(min(tried, key=lambda y: (abs(fraction(y) - exact), y.view(np.uint32) & 1)))


FLOATS = st.floats(-(2.0**49), 2.0**49, width=32)


@given(FLOATS, FLOATS, FLOATS)
def test_fused_products_round_once(a, b, c):
    ours = fused_multiply_add(*(np.array([value], np.float32) for value in (a, b, c)))
    exact = fraction(a) * fraction(b) + fraction(c)
    assert float(ours[0]) == nearest(exact)


def test_fused_products_do_not_round_twice():
    # The product is 2**-54 short of half a step. Binary64 cannot hold the sum and would round it to
    # a tie, and the tie to even: to one step too many in the first case, too few in the second.
    a, b = (np.array([2.0**-12 * (1 + side * 2.0**-15)], np.float32) for side in (1, -1))
    odd = np.array([1 + 2.0**-23], np.float32)
    assert fused_multiply_add(a, b, odd)[0] == np.float32(1 + 2.0**-23)
    assert fused_multiply_add(-a, b, odd)[0] == np.float32(1 + 2.0**-23)


@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-31, 1.0))
def test_real_multipliers_round_half_away(x, real):
    expected = half_away(Fraction(float(x) * real))
    assert requantize_real(np.array([x], np.int32), real)[0] == expected


@given(st.integers(-(2**31), 2**31 - 1), st.integers(2**30, 2**31 - 1), st.integers(-31, 0))
def test_ties_up_round_twice(x, multiplier, shift):
    high = floor(Fraction(x * multiplier, 2**31) + Fraction(1, 2))
    expected = floor(Fraction(min(high, 2**31 - 1), 2**-shift) + Fraction(1, 2))
    if shift == 0:
        expected = min(high, 2**31 - 1)
    assert requantize_ties_up(np.array([x], np.int32), FixedPoint(multiplier, shift))[0] == expected


def test_four_requantizations_differ_on_ties():
    by, accumulator = FixedPoint(2**30, -1), np.array([1, 2, 6, -1, -2, -3, -6], np.int32)
    assert requantize_ties_up(accumulator, by).tolist() == [1, 1, 2, 0, 0, 0, -1]
    assert requantize_double_rounding(accumulator, by).tolist() == [1, 1, 2, 0, -1, -1, -2]
    assert requantize_real(accumulator, 0.25).tolist() == [0, 1, 2, 0, -1, -1, -2]
    assert requantize_float(accumulator, np.float32(0.25), 0, np.int8).tolist() == [
        *(0, 0, 2, 0),
        *(0, -1, -2),
    ]


def test_block_sums_equal_int64():
    generator = np.random.default_rng(4)
    left = generator.integers(-128, 128, (5, 96), dtype=np.int8)
    right = generator.integers(-128, 128, (7, 96), dtype=np.int8)
    expected = np.einsum(
        "mbk,nbk->bmn",
        left.reshape(5, 3, 32).astype(np.int64),
        right.reshape(7, 3, 32).astype(np.int64),
    )
    assert (block_sums(left, right, 32) == expected).all()
    with pytest.raises(SchemeError, match="multiple"):
        block_sums(left, right, 31)
    with pytest.raises(SchemeError, match=r"2\*\*24"):
        block_sums(np.full((1, 2048), -128, np.int8), np.full((1, 2048), -128, np.int8), 2048)


def small_layer():
    """Two rows, zero points that are not 0, and two outputs of two blocks each."""
    codes = np.array([[3, -4, 5, 6], [-128, 127, 0, 1]], np.int8)
    rows = QuantizedRows(codes, np.array([0.1, 0.3], np.float32), np.array([7, -2], np.int32))
    weights = np.array([[1, -7, 3, 2], [7, 0, -5, 4]], np.int8)
    return rows, weights, np.array([0.5, 0.7], np.float32), np.array([1, -2], np.float32)


def test_layers_stand_for_the_dequantized_product():
    rows, weights, scale, bias = small_layer()
    exact = rows.dequantize().astype(np.float64) @ (weights * scale[:, None].astype(np.float64)).T
    symmetric = QuantizedRows(rows.codes, rows.scale, np.zeros(2, np.int32))
    plain = symmetric.dequantize().astype(np.float64) @ (weights * scale[:, None]).T
    blocks = np.stack([scale, scale], axis=1)
    # No sum of magnitudes here exceeds 256, so a dozen roundings stay below 2**-12.
    for ours, expected in (
        (litert_layer(symmetric, weights, scale, bias), plain),
        (litert_int4_layer(symmetric, weights, scale, bias), plain),
        (litert_block_layer(rows, weights, blocks, bias), exact),
        (xnnpack_layer(rows, weights, scale, bias), exact),
        (torchao_layer(rows, weights * scale[:, None], bias), exact),
        (xnnpack_layer(rows, weights, scale, bias, fused=False), exact),
    ):
        assert (np.abs(ours - (expected + bias)) < 2.0**-12).all()
    held = np.array([[0.5, 0.5], [0.69921875, 0.69921875]], np.float32)
    for offset in (0, 128):
        ours = xnnpack_block_layer(rows, weights, blocks, bias, offset=offset)
        exact = rows.dequantize().astype(np.float64) @ (weights * held[:, :1]).T
        assert (np.abs(ours - (exact + bias)) < 2.0**-12).all()


def test_layers_refuse_what_their_kernels_misread():
    rows, weights, scale, bias = small_layer()
    with pytest.raises(SchemeError, match="-128"):
        litert_layer(rows, np.full_like(weights, -128), scale, bias)
    with pytest.raises(SchemeError, match="-8"):
        litert_int4_layer(rows, np.full_like(weights, -8), scale, bias)
    with pytest.raises(SchemeError, match="divides its length"):
        litert_block_layer(rows, weights, np.ones((2, 3), np.float32), bias)
