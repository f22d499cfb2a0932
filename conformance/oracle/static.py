"""Static integer layers in plain Python, one output after the other.

Written from spec/activations.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from conformance.oracle import binary, integers

__all__ = ["CONTRACTS", "Answer", "Contract", "Layer", "layer"]

Row = Sequence[float]
Rounding = Callable[[int, "Layer", float], int]
"""A sum of products, the layer, and the scale of the weights: the code before its zero point."""


class Layer(NamedTuple):
    """What calibration and quantization found."""

    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    weights: Sequence[Sequence[int]]
    scales: Row
    bias: Row | None


class Answer(NamedTuple):
    """Codes of the input, codes of the output, and their numbers, all in C order."""

    inputs: list[int]
    codes: list[int]
    values: list[float]


class Contract(NamedTuple):
    """Width of codes, how numbers become codes, sums codes, and codes numbers."""

    bits: int
    by_reciprocal: bool
    rounding: Rounding
    without_bias: Rounding
    apart: bool = False


def real(total: int, known: Layer, scale: float) -> int:
    """A multiplier and a product in binary64, ties away from zero."""
    return binary.half_away(total * (known.input_scale * scale / known.output_scale))


def single_float(total: int, known: Layer, scale: float) -> int:
    """The sum, the multiplier and the product in binary32, ties to even."""
    product = binary.multiply(known.input_scale, scale)
    factor = binary.divide(product, known.output_scale)
    return binary.half_even(binary.multiply(binary.f32(total), factor))


def fixed(name: str) -> Rounding:
    """A multiplier of 31 bits and a shift, and one of the roundings of `integers.py`."""

    def rounding(total: int, known: Layer, scale: float) -> int:
        multiplier, shift = fixed_point(known.input_scale * scale / known.output_scale)
        return integers.REQUANTIZERS[name](total, multiplier, shift)

    return rounding


def fixed_point(value: float) -> tuple[int, int]:
    """`multiplier * 2**(shift - 31)` next to a positive number, ties away; 0 below 2**-32."""
    shift = binary.floor_log2(Fraction(value)) + 1
    multiplier = math.floor(Fraction(value) * binary.power_of_two(31 - shift) + Fraction(1, 2))
    if multiplier == 1 << 31:
        multiplier, shift = 1 << 30, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


DOUBLE, SINGLE, UP = fixed("double_rounding"), fixed("single_rounding"), fixed("ties_up")

CONTRACTS: Mapping[str, Contract] = {
    "int8_static": Contract(8, False, real, real),
    "int8_static_optimized": Contract(8, True, UP, UP, apart=True),
    "int8_static_xnnpack": Contract(8, True, single_float, single_float),
    "int8_static_double": Contract(8, False, DOUBLE, DOUBLE),
    "int8_static_single": Contract(8, False, SINGLE, SINGLE),
    "int16_static": Contract(16, False, real, real),
    "int16_static_optimized": Contract(16, True, real, UP),
}


def layer(contract: str, known: Layer, x: Sequence[Row]) -> Answer:
    """The whole layer: numbers to codes, codes to codes, codes to numbers."""
    rule = CONTRACTS[contract]
    inputs = [[code_of(value, known, rule) for value in row] for row in x]
    codes = [output(row, n, known, rule) for row in inputs for n in range(len(known.weights))]
    flat = [code for row in inputs for code in row]
    return Answer(flat, codes, [value_of(code, known, rule) for code in codes])


def code_of(value: float, known: Layer, rule: Contract) -> int:
    """A quotient with ties away from zero, or a product with the reciprocal with ties to even."""
    if rule.by_reciprocal:
        factor = binary.divide(1.0, known.input_scale)
        code = binary.half_even(binary.multiply(value, factor))
    else:
        code = binary.half_away(binary.divide(value, known.input_scale))
    return saturated(code + known.input_zero_point, rule)


def output(row: Sequence[int], n: int, known: Layer, rule: Contract) -> int:
    """One code of the output."""
    total = sum(
        (code - known.input_zero_point) * weight
        for code, weight in zip(row, known.weights[n], strict=True)
    )
    if known.bias is None:
        rounded = rule.without_bias(total, known, known.scales[n])
    else:
        step = binary.multiply(known.input_scale, known.scales[n])
        total += binary.half_even(binary.divide(known.bias[n], step))
        rounded = rule.rounding(total, known, known.scales[n])
    return saturated(rounded + known.output_zero_point, rule)


def value_of(code: int, known: Layer, rule: Contract) -> float:
    """The scale times the distance from the zero point, or the difference of two products."""
    scale, zero = known.output_scale, known.output_zero_point
    if rule.apart:
        own, theirs = binary.multiply(scale, float(code)), binary.multiply(scale, float(zero))
        return binary.subtract(own, theirs)
    return binary.multiply(float(code - zero), scale)


def saturated(code: int, rule: Contract) -> int:
    """A code within its type."""
    most = (1 << (rule.bits - 1)) - 1
    return max(-most - 1, min(code, most))
