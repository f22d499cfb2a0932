"""MLX's quantizers in plain Python: one group at a time, every operation rounded once.

Written from the clauses of the `mlx/` ledger.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from conformance.oracle import binary

__all__ = ["affine", "affine_value", "block", "block_value"]

DTYPES = {"f32": binary.FLOAT32, "f16": binary.FLOAT16, "bf16": binary.BFLOAT16}


def affine(x: Sequence[float], bits: int, dtype: str) -> tuple[int, int, list[int]]:
    """The stored bits of scale and bias, and the codes."""
    form = DTYPES[dtype]
    x = [binary.decode(binary.encode(v, form), form) for v in x]
    low, high, steps = min(x), max(x), float(2**bits - 1)
    extent = binary.divide(binary.subtract(high, low), steps)
    least = binary.f32(Fraction(1, 10**7))
    scale = extent if math.isnan(extent) else max(extent, least)
    edge = low if abs(low) > abs(high) else high
    if edge is high:
        scale = -scale
    ratio = binary.divide(edge, scale)
    anchor = ratio if not math.isfinite(ratio) else float(binary.half_even(ratio))
    bias = 0.0
    if anchor != 0:
        scale, bias = binary.divide(edge, anchor), edge
    codes = [nearest(binary.divide(binary.subtract(v, bias), scale), steps) for v in x]
    return binary.encode(scale, form), binary.encode(bias, form), codes


def nearest(quotient: float, steps: float) -> int:
    """The nearest code; NaN is code 0."""
    if not math.isfinite(quotient):
        return int(steps) if quotient > 0 else 0
    return int(max(0, min(steps, binary.half_even(quotient))))


def affine_value(scale: int, bias: int, code: int, dtype: str) -> float:
    """`scale * code + bias`, both operations rounded."""
    form = DTYPES[dtype]
    product = binary.multiply(binary.decode(scale, form), float(code))
    return binary.add(product, binary.decode(bias, form))


def block(x: Sequence[float], mode: str, rule: str) -> tuple[int, list[int]]:
    """The scale's code and the codes of a block of mxfp4, mxfp8 or nvfp4."""
    largest = 448.0 if mode == "mxfp8" else 6.0
    quotient = binary.divide(max(abs(v) for v in x), largest)
    if mode == "nvfp4":
        code = binary.encode(quotient, binary.FLOAT8_E4M3FN, "saturate")
        scale = binary.decode(code, binary.FLOAT8_E4M3FN)
        return code, [first_nearest(binary.divide(v, scale)) for v in x]
    exponent = exponent_of(Fraction(quotient), rule) if quotient else 0
    power = float(binary.power_of_two(exponent))
    elements = [binary.divide(v, power) for v in x]
    if mode == "mxfp4":
        return (exponent + 127) % 256, [first_nearest(v) for v in elements]
    form = binary.FLOAT8_E4M3FN
    return (exponent + 127) % 256, [binary.encode(v, form, "saturate") for v in elements]


def exponent_of(quotient: Fraction, rule: str) -> int:
    """The power of two not below the quotient, or nearest to it in the logarithm."""
    exponent = binary.floor_log2(quotient)
    rest = quotient / binary.power_of_two(exponent)
    more = rest > 1 if rule == "ceil" else rest * rest > 2 * tie_width(exponent)
    return exponent + more


@cache
def tie_width(exponent: int) -> Fraction:
    """2 to the unit of binary32 at `exponent + 1/2`, or its reciprocal for an odd exponent.

    So far may the square of a number lie from 2 for its logarithm to be rounded to one half. It is
    a root of 2 that is drawn again and again, to 400 bits.
    """
    unit = binary.floor_log2(abs(exponent + Fraction(1, 2))) - 23
    root = 2 << 400
    for _ in range(-unit):
        root = math.isqrt(root << 400)
    width = Fraction(root, 1 << 400)
    return 1 / width if exponent % 2 else width


def first_nearest(value: float) -> int:
    """The first of the E2M1 codes whose rounded distance is least."""
    distances = [
        abs(binary.subtract(value, binary.decode(code, binary.FLOAT4_E2M1))) for code in range(16)
    ]
    return 0 if math.isnan(value) else distances.index(min(distances))


def block_value(scale: int, code: int, mode: str) -> float:
    """`scale * element`."""
    scales = binary.FLOAT8_E4M3FN if mode == "nvfp4" else binary.FLOAT8_E8M0
    elements = binary.FLOAT8_E4M3FN if mode == "mxfp8" else binary.FLOAT4_E2M1
    return binary.multiply(binary.decode(scale, scales), binary.decode(code, elements))
