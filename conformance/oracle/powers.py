"""E8M0 in plain Python: the power of two for a number.

Written from the clauses of float/f8_e8m0 in the ledger.
"""

import math
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["decode", "encode"]


def encode(value: float, rounding: str, outside: str, overflow: str) -> int:
    """The code of a binary32 number."""
    if math.isnan(value) or (outside == "nan" and not value > 0):
        return 255
    magnitude = abs(value)
    if magnitude == 0:
        return 0
    power = 128 if math.isinf(value) else power_for(Fraction(magnitude), rounding)
    if power > 127:
        return 254 if overflow == "saturate" else 255
    return max(power, -127) + 127


def power_for(magnitude: Fraction, rounding: str) -> int:
    """The exponent of the power that is taken for a positive number."""
    below = binary.floor_log2(magnitude)
    exact = magnitude == binary.power_of_two(below)
    if rounding == "floor" or exact:
        return below
    if rounding == "ceil" or below == -127:
        return below + 1
    return below + (magnitude >= Fraction(3, 2) * binary.power_of_two(below))


def decode(code: int) -> float:
    """The number a code stands for."""
    return binary.decode(code, binary.FLOAT8_E8M0)
