"""Rotary positions as unique bits.

A frequency theta**(-2i / d) is the binary64 number nearest to the real power. An angle is the exact
product of a position and a frequency, and its cosine and sine are rounded once, to binary32. So
late positions keep the low bits of their angles, which a product in binary32 would lose.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.correctly_rounded.nearest import (
    RealFunction,
    nearest_binary32,
    nearest_binary64,
    nearest_of_real,
    settle,
)

if TYPE_CHECKING:
    from mpmath.ctx_mp import MPContext

__all__ = ["rotary_frequencies", "rotary_table"]

F64 = NDArray[np.float64]

ERROR = 2.0**-45
"""Error of a sine or cosine of two parts in binary64; `elementary.py` says why."""

LARGEST_POSITION = 1 << 26
"""Positions below it have exact products with either half of a frequency."""

UPPER_HALF = np.uint64(0xFFFFFFFFF8000000)
"""Keeps the first 26 bits of a binary64 significand."""


@lru_cache(maxsize=16)
def rotary_frequencies(theta: float, head_width: int) -> F64:  # -> f64[head_width / 2]
    """theta**(-2i / head_width) for each pair i, each rounded once to binary64."""

    def frequency(pair: int) -> float:
        def real(context: "MPContext") -> Any:
            return context.power(context.mpf(theta), context.mpf(-2 * pair) / head_width)

        return nearest_of_real(real, nearest_binary64) if pair else 1.0

    table = np.array([frequency(pair) for pair in range(head_width // 2)], np.float64)
    table.flags.writeable = False
    return table


def rotary_table(
    positions: NDArray[np.int64], frequencies: F64
) -> NDArray[np.complex64]:  # i64[t], f64[n] -> c64[t, n]
    """cos(p f) + j sin(p f), each part the binary32 number nearest to the real one."""
    if positions.size and not 0 <= positions.min() <= positions.max() < LARGEST_POSITION:
        raise ValueError(f"positions are expected from 0 to {LARGEST_POSITION - 1}")
    upper = (frequencies.view(np.uint64) & UPPER_HALF).view(np.float64)
    steps = positions.astype(np.float64)[:, np.newaxis]
    large, small = steps * upper, steps * (frequencies - upper)  # both exact
    angle = large + small
    rest = small - (angle - large)  # exact, because |small| <= |large|
    sine, cosine = np.sin(angle), np.cos(angle)
    table = np.empty(angle.shape, np.complex64)
    decide = _decider(positions, frequencies)
    table.real = _settle(cosine - rest * sine, angle, decide("cos"))
    table.imag = _settle(sine + rest * cosine, angle, decide("sin"))
    return table


def _settle(
    estimate: F64, angle: F64, decide: Callable[[tuple[int, ...]], np.float32]
) -> NDArray[np.float32]:  # f64[t, n] -> f32[t, n]
    return settle(estimate, np.where(angle < 1.0, np.abs(estimate) * ERROR, ERROR), decide)


def _decider(
    positions: NDArray[np.int64], frequencies: F64
) -> Callable[[str], Callable[[tuple[int, ...]], np.float32]]:
    """For `cos` or `sin`: the function that decides the rounding of one entry of the table."""

    def of_function(name: str) -> Callable[[tuple[int, ...]], np.float32]:
        def decide(index: tuple[int, ...]) -> np.float32:
            angle = int(positions[index[0]]) * Fraction(float(frequencies[index[1]]))
            return np.float32(nearest_of_real(_real(name, angle), nearest_binary32))

        return decide

    return of_function


def _real(name: str, angle: Fraction) -> RealFunction:
    return lambda context: getattr(context, name)(context.mpf(angle.numerator) / angle.denominator)
