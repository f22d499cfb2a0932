"""From an enclosure of a real number to the one number nearest to it.

Both the quick path (binary64 with an error bound) and the slow one (mpmath, with more bits until
both ends of the enclosure round alike) end here, so the rounding is written down once.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpmath.ctx_mp import MPContext

__all__ = ["RealFunction", "nearest_binary32", "nearest_binary64", "nearest_of_real", "settle"]

RealFunction = Callable[["MPContext"], Any]
"""A real number as a computation with the context's functions, at the context's precision."""

FIRST_BITS = 96
LAST_BITS = 1 << 13
"""Rotary angles and binary32 arguments are decided below 300 bits; beyond this something is odd."""

GUARD_BITS = 16
"""mpmath's elementary functions are off by a few units of the last bit; this grants 2**15."""


def nearest_binary32(real: Fraction) -> np.float32:
    """The binary32 number nearest to a rational one, ties to even; zero is positive."""
    return np.float32(_nearest(real, 24, -149, 128))


def nearest_binary64(real: Fraction) -> float:
    """The binary64 number nearest to a rational one, ties to even; zero is positive."""
    return _nearest(real, 53, -1074, 1024)


def _nearest(real: Fraction, digits: int, smallest: int, beyond: int) -> float:
    """An integer of at most `digits` bits times a power of two not below 2**smallest."""
    magnitude = abs(real)
    power = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** power:
        power -= 1
    unit = Fraction(2) ** max(power - digits + 1, smallest)
    rounded = round(real / unit) * unit
    if abs(rounded) >= Fraction(2) ** beyond:
        return float("inf") if real > 0 else -float("inf")
    return float(rounded)


def settle(
    estimate: NDArray[np.float64],
    error: NDArray[np.float64] | float,
    decide: Callable[[tuple[int, ...]], np.float32],
) -> NDArray[np.float32]:  # f64[...], f64[...] -> f32[...]
    """The binary32 numbers nearest to real values that lie within `error` of their estimates.

    Where the two ends of an interval round differently, `decide(index)` is asked. Estimates that
    are not finite stay what they are.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        low = np.subtract(estimate, error).astype(np.float32)
        high = np.add(estimate, error).astype(np.float32)
        result: NDArray[np.float32] = estimate.astype(np.float32)
    open_ones = low != high
    if open_ones.any():
        open_ones &= np.isfinite(estimate)
        for index in zip(*np.nonzero(open_ones), strict=True):
            result[index] = decide(index)
    return result


def nearest_of_real(
    real: RealFunction,
    round_to: Callable[[Fraction], float | np.float32],
    tie: Callable[[Fraction], bool] | None = None,
) -> float:
    """The number nearest to a real one: more bits until both ends of its enclosure round alike.

    `tie(candidate)` says whether the real number equals a rational one, which no number of bits
    can tell where it lies half-way between two results; without it there are no such cases.
    """
    from mpmath.ctx_mp import MPContext  # noqa: PLC0415 - slow to import and rarely needed

    context = MPContext()
    bits = FIRST_BITS
    while bits <= LAST_BITS:
        context.prec = bits
        low, high = _enclosure(real(context), bits)
        if round_to(low) == round_to(high):
            return float(round_to(low))
        if tie is not None and tie(middle := _half_way(low, high)):
            return float(round_to(middle))
        bits *= 2
    raise ArithmeticError(f"a rounding is not decided by {LAST_BITS} bits")


def _enclosure(value: Any, bits: int) -> tuple[Fraction, Fraction]:
    """The fractions a relative 2**-(bits - GUARD_BITS) below and above an mpmath number."""
    magnitude, exponent = abs(value).man_exp
    centre = (-1 if value < 0 else 1) * int(magnitude) * Fraction(2) ** int(exponent)
    slack = abs(centre) / (1 << (bits - GUARD_BITS))
    return centre - slack, centre + slack


def _half_way(low: Fraction, high: Fraction) -> Fraction:
    """The number with the fewest digits between two close ones: the half-way point, if one is."""
    unit = Fraction(1)
    while unit > high - low:
        unit /= 2
    while (count := -(-low // unit)) * unit > high:
        unit /= 2
    while -(-low // (2 * unit)) * 2 * unit <= high:
        unit *= 2
        count = -(-low // unit)
    return count * unit
