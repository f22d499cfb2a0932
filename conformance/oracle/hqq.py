"""HQQ's groups in plain Python, every operation rounded once to binary32.

Written from the clauses of the `hqq/` ledger.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["decode", "encode"]

FORMS = {"f32": binary.FLOAT32, "f16": binary.FLOAT16}


def encode(
    x: Sequence[float], bits: int, rounding: str, parameters: str
) -> tuple[int, int, list[int]]:
    """The stored bits of scale and zero, and the codes."""
    low, high, largest = min(x), max(x), 2**bits - 1
    extent = binary.subtract(high, low)
    inverse = 1.0
    if extent > binary.f32(Fraction(1, 10**4)):
        inverse = binary.multiply(binary.divide(1.0, extent), float(largest))
    inverse = min(inverse, 20000.0)
    zero = binary.multiply(-low, inverse)
    if rounding == "rounded":
        zero = math.copysign(binary.half_even(zero), zero)
    codes = []
    for value in x:
        exact = binary.half_even(binary.add(binary.multiply(value, inverse), zero))
        codes.append(max(0, min(largest, exact)))
    form = FORMS[parameters]
    return binary.encode(binary.divide(1.0, inverse), form), binary.encode(zero, form), codes


def decode(scale: int, zero: int, code: int, parameters: str) -> float:
    """`(code - zero) * scale`."""
    form = FORMS[parameters]
    difference = binary.subtract(float(code), binary.decode(zero, form))
    return binary.multiply(difference, binary.decode(scale, form))
