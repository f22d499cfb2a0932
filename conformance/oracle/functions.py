"""Elementary functions and sums of spec/arithmetic.md in plain Python, rounded once to binary32.

Functions are computed with 60 decimal digits. Their values are never half-way between two binary32
numbers except where they are exact (exp and sin of 0, cos of 0), and no known value lies so near to
a half-way point that 60 digits would not tell the side; sums are exact rationals.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["cosine", "dot", "exponential", "frequency", "reciprocal_root", "sine", "total"]

DIGITS = Context(prec=60)
UNDERFLOW, OVERFLOW = -120.0, 120.0
"""Beyond them the exponential is 0 or infinite in binary32, by far."""
QUANTUM = 149
"""The least positive binary32 number is 2**-149."""


def total(terms: Iterable[Fraction]) -> float:
    """A sum over the reals (A-3); what is zero or rounds to it is +0 (A-10)."""
    return binary.f32(sum(terms, Fraction(0))) + 0.0


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """The sum of products over the reals (A-2), counted in squares of the least number."""
    found = sum(_quanta(a) * _quanta(b) for a, b in zip(left, right, strict=True))
    return total([Fraction(found, 1 << 2 * QUANTUM)])


def _quanta(x: float) -> int:
    """How many times the least positive binary32 number a finite one is."""
    numerator, denominator = x.as_integer_ratio()
    return numerator << (QUANTUM + 1 - denominator.bit_length())


def exponential(x: float) -> float:
    """The exponential of a binary32 number (A-5)."""
    if x < UNDERFLOW or x > OVERFLOW:
        return 0.0 if x < 0 else math.inf
    return binary.f32(Fraction(DIGITS.exp(Decimal(x))))


def sine(angle: Fraction) -> float:
    """The sine of a real number (A-9)."""
    return binary.f32(_series(angle, angle, 1))


def cosine(angle: Fraction) -> float:
    """The cosine of a real number (A-9)."""
    return binary.f32(_series(angle, Fraction(1), 0))


def _series(angle: Fraction, term: Fraction, power: int) -> Fraction:
    """Taylor's series of the sine or cosine from its first term, which has this power of the angle.

    Terms are cut to multiples of 2**-600 and end at 2**-300. Up to 64 radians no term is above
    2**91, so what is cut off changes no digit of the first 60.
    """
    if abs(angle) > 64:
        raise ValueError(f"the series is for angles of up to 64 radians, not {float(angle):g}")
    found = Fraction(0)
    while abs(term) > Fraction(1, 1 << 300):
        found += term
        power += 2
        exact = -term * angle * angle / (power * (power - 1))
        term = Fraction(math.floor(exact * (1 << 600)), 1 << 600)
    return found


def frequency(theta: float, pair: int, width: int) -> float:
    """The binary64 number nearest to `theta ** (-2 pair / width)` (A-8)."""
    power = DIGITS.divide(Decimal(-2 * pair), Decimal(width))
    return float(DIGITS.power(Decimal(theta), power))


def reciprocal_root(number: int) -> float:
    """1 over the root of a whole number (A-6)."""
    return binary.f32(Fraction(DIGITS.divide(Decimal(1), DIGITS.sqrt(Decimal(number)))))
