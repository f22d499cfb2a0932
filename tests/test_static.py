"""Static integer layers against scalar integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from refquant.arithmetic import (
    StaticParameters,
    fixed_point,
    fixed_points,
    requantize_double_rounding,
    requantize_single_rounding,
    requantize_ties_up,
    static_layer,
    static_parameters,
)
from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.arithmetic.static import (
    STATIC,
    static_bias,
    static_codes,
    static_sums,
    static_values,
)
from refquant.errors import SchemeError, UsageError

EIGHT = StaticParameters(0.5, -4, 2.0, 17)
SIXTEEN = StaticParameters(2.0**-8, 0, 2.0**-4, 0)


def parameters_of(contract):
    return EIGHT if STATIC[contract].bits == 8 else SIXTEEN


def test_every_static_contract_has_a_kernel():
    assert set(STATIC) == {name for name, one in ACTIVATIONS.items() if one.compute == ("static",)}


@pytest.mark.parametrize(
    ("contract", "extent", "expected"),
    [
        # 255 steps; the zero point is the code of 0.0.
        ("int8_static", (-64.0, 191.0), (1.0, -64)),
        ("int8_static", (0.0, 255.0), (1.0, -128)),
        ("int8_static", (-255.0, 0.0), (1.0, 127)),
        # A range takes 0.0 in, on either side.
        ("int8_static", (5.0, 255.0), (1.0, -128)),
        ("int8_static", (-255.0, -5.0), (1.0, 127)),
        # A tie of the zero point goes to even: -128 + 62.5 is -66, and -128 + 63.5 is -64.
        ("int8_static", (-62.5, 192.5), (1.0, -66)),
        ("int8_static", (-63.5, 191.5), (1.0, -64)),
        ("int8_static", (0.0, 0.0), (float(np.float32(1e-9) / np.float32(255)), -128)),
        ("int16_static", (-3.0, 32767.0), (1.0, 0)),
        ("int16_static", (-32767.0, 3.0), (1.0, 0)),
        ("int16_static", (0.0, 0.0), (float(np.float32(1e-9) / np.float32(32767)), 0)),
    ],
)
def test_ranges_become_parameters(contract, extent, expected):
    found = static_parameters(contract, extent, (-1.0, 1.0))
    assert (found.input_scale, found.input_zero_point) == expected
    found = static_parameters(contract, (-1.0, 1.0), extent)
    assert (found.output_scale, found.output_zero_point) == expected


@pytest.mark.parametrize("extent", [(1.0, -1.0), (np.nan, 1.0), (-1.0, np.inf), (-np.inf, 0.0)])
def test_ranges_that_are_none(extent):
    with pytest.raises(UsageError, match="range"):
        static_parameters("int8_static", extent, (-1.0, 1.0))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan, 2.0**-127, 0.1])
def test_scales_that_are_none(scale):
    with pytest.raises(SchemeError, match="scale"):
        StaticParameters(1.0, 0, scale, 0)


def away(x: Fraction) -> int:
    return floor(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)


def upward(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


def to_even(x: Fraction) -> int:
    return round(x)


ROUNDS_INPUT = {False: away, True: to_even}
ROUNDS_SUM = {"real": away, "ties up": upward, "float": to_even, "single": upward}


@pytest.mark.parametrize("contract", STATIC)
def test_codes_are_scalar_ones(contract):
    known, kernel = parameters_of(contract), STATIC[contract]
    scale, zero = known.input_scale, known.input_zero_point
    steps = [-(10**6), -130.5, -2.5, -1.5, -0.5, 0, 0.5, 1.5, 2.5, 3.25, 123.5, 10**6]
    x = np.array(steps, np.float32) * np.float32(scale)
    least, most = (-128, 127) if kernel.bits == 8 else (-32768, 32767)
    rounds = ROUNDS_INPUT[kernel.by_reciprocal]
    expected = [max(least, min(most, rounds(Fraction(step)) + zero)) for step in steps]
    codes = static_codes(contract, x, scale, zero)
    assert codes.tolist() == expected
    assert codes.dtype == (np.int8 if kernel.bits == 8 else np.int16)
    values = static_values(contract, codes, scale, zero)
    assert values.tolist() == [(code - zero) * scale for code in expected]
    assert static_codes(contract, np.float32([-np.inf, np.inf]), scale, zero).tolist() == [
        least, most,
    ]  # fmt: skip
    with pytest.raises(SchemeError, match="NaN"):
        static_codes(contract, np.float32([1, np.nan]), scale, zero)


@pytest.mark.parametrize("contract", [name for name in STATIC if name != "int8_static_double"])
@pytest.mark.parametrize("has_bias", [False, True])
def test_layers_are_scalar_ones(contract, has_bias):
    known, kernel = parameters_of(contract), STATIC[contract]
    random = np.random.default_rng(3)
    least, most = (-128, 128) if kernel.bits == 8 else (-32768, 32768)
    codes = random.integers(least, most, (6, 40)).astype(kernel.limits.dtype)
    weights = random.integers(-128, 128, (10, 40)).astype(np.int8)
    # Multipliers that are powers of two: then every way to hold them is exact, and ties occur.
    scale = np.float32(2.0) ** -random.integers(4, 11, 10).astype(np.float32)
    bias = random.integers(-900, 900, 10).astype(np.float32) * scale * np.float32(known.input_scale)
    layer = static_layer(contract, known, weights, scale)
    found = layer.codes(codes, bias if has_bias else None)
    rounding = kernel.rounding if has_bias else kernel.without_bias
    ties = 0
    for row in range(6):
        for channel in range(10):
            total = sum(
                (int(code) - known.input_zero_point) * int(weight)
                for code, weight in zip(codes[row], weights[channel], strict=True)
            )
            step = Fraction(known.input_scale) * Fraction(float(scale[channel]))
            total += int(Fraction(float(bias[channel])) / step) if has_bias else 0
            real = total * step / Fraction(known.output_scale)
            ties += real.denominator == 2
            code = ROUNDS_SUM[rounding](real) + known.output_zero_point
            assert found[row, channel] == max(least, min(most - 1, code)), (row, channel)
    assert ties or kernel.bits == 16


@pytest.mark.parametrize(
    "requantize",
    [requantize_double_rounding, requantize_single_rounding, requantize_ties_up],
)
def test_multipliers_of_channels_are_those_of_one(requantize):
    random = np.random.default_rng(4)
    reals = np.exp(random.uniform(-12, 0.6, 30))
    sums = random.integers(-(2**28), 2**28, (50, 30)).astype(np.int32)
    each = [requantize(sums[:, at], fixed_point(real)) for at, real in enumerate(reals.tolist())]
    assert np.array_equal(requantize(sums, fixed_points(reals)), np.stack(each, axis=1))


def test_sixteen_bit_sums_are_exact():
    random = np.random.default_rng(5)
    codes = random.integers(-32768, 32768, (5, 700)).astype(np.int16)
    codes[0], codes[1] = -32768, 32767
    weights = random.integers(-128, 128, (9, 700)).astype(np.int8)
    weights[0], weights[1] = -128, 127
    sums = static_sums(codes, 0, weights, weights.sum(axis=1, dtype=np.int64))
    assert np.array_equal(sums, codes.astype(np.int64) @ weights.T.astype(np.int64))
    assert sums[0, 0] == 2**22 * 700


def test_what_an_accumulator_cannot_hold_is_refused():
    weights, scale = np.full((1, 600), 127, np.int8), np.ones(1, np.float32)
    codes = np.full((1, 600), 32767, np.int16)
    wide = static_layer("int16_static", SIXTEEN, weights, scale)
    assert wide.codes(codes).tolist() == [[32767]]
    narrow = static_layer("int16_static_optimized", SIXTEEN, weights, scale)
    assert narrow.codes(codes, np.zeros(1, np.float32)).tolist() == [[32767]]
    with pytest.raises(SchemeError, match="int32 accumulator of int16_static_optimized"):
        narrow.codes(codes)
    with pytest.raises(SchemeError, match="bias leaves int32"):
        static_bias(np.float32([2.0**31]), scale, 1.0)
    assert static_bias(np.float32([2.5, -3.5, 2.0**31 - 128]), scale, 1.0).tolist() == [
        2, -4, 2**31 - 128,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("contract", "zero", "ends"),
    [("int8_static", 128, "-128 to 127"), ("int16_static", 1, "0 to 0")],
)
def test_zero_points_that_do_not_fit(contract, zero, ends):
    weights, scale = np.ones((2, 4), np.int8), np.ones(2, np.float32)
    for parameters in (StaticParameters(1.0, zero, 1.0, 0), StaticParameters(1.0, 0, 1.0, zero)):
        with pytest.raises(SchemeError, match=ends):
            static_layer(contract, parameters, weights, scale)


@pytest.mark.parametrize(
    ("contract", "inputs", "outputs"),
    [
        ("int8_static", [1, 2, -1], [1, -1]),
        ("int8_static_optimized", [0, 2, 0], [1, 0]),
        ("int8_static_xnnpack", [0, 2, 0], [0, 0]),
        # The doubling high product sends a negative tie up; the shift behind it would not.
        ("int8_static_double", [1, 2, -1], [1, 0]),
        ("int8_static_single", [1, 2, -1], [1, 0]),
        ("int16_static", [1, 2, -1], [1, -1]),
        ("int16_static_optimized", [0, 2, 0], [1, 0]),
    ],
)
def test_contracts_differ_in_ties(contract, inputs, outputs):
    halves = np.float32([0.5, 1.5, -0.5])
    assert static_codes(contract, halves, 1.0, 0).tolist() == inputs
    known = StaticParameters(1.0, 0, 2.0, 0)
    layer = static_layer(contract, known, np.ones((1, 1), np.int8), np.ones(1, np.float32))
    dtype = STATIC[contract].limits.dtype
    assert layer.codes(np.array([[1], [-1]], dtype))[:, 0].tolist() == outputs
