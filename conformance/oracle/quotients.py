"""Codes of numbers under a given scale where the clause leaves open how the quotient is made.

An engine may divide, or multiply by the reciprocal: each rounds once or twice to binary32, so its
quotient lies within two roundings of the exact one. Under a scale that is a power of two both are
exact, and so is the code.
"""

from fractions import Fraction

from conformance.oracle.binary import half_even

__all__ = ["code_bounds"]

ROUNDING = Fraction(1, 1 << 24)
"""How far, of itself, a number may move where it is rounded to binary32."""


def code_bounds(x: float, scale: float, zero: int, low: int, high: int) -> tuple[int, int]:
    """The least and the largest code that a right quotient gives."""
    exact = Fraction(x) / Fraction(scale)
    slack = Fraction(0) if _is_power_of_two(Fraction(scale)) else (1 + ROUNDING) ** 2 - 1
    ends = sorted(exact * (1 + sign * slack) for sign in (-1, 1))
    first, last = (min(max(half_even(end) + zero, low), high) for end in ends)
    return first, last


def _is_power_of_two(scale: Fraction) -> bool:
    return all(part & (part - 1) == 0 for part in (scale.numerator, scale.denominator))
