"""Groups laid out so that a step over all of them is one contiguous row.

NumPy reduces a short last axis one element at a time, and multiplies short rows by a number each
at a third of its speed. So four neighbouring weights of a group travel as one item of 16 bytes:
row k holds weights 4k to 4k + 3 of every group, group after group. That takes a quarter of the
moves of a transpose, and on the way back four 8-bit codes are one word.

`np.maximum` and `np.minimum` of zeros of both signs may give either. What is returned here does not
depend on that: a zero of `quad_extremes` is +0.0, one of `extremes` is the first in its group.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "extremes",
    "extremes_and_zero",
    "from_quads",
    "magnitude_of",
    "over_quads",
    "quad_extremes",
    "quads",
]

F32 = NDArray[np.float32]
Byte = TypeVar("Byte", np.uint8, np.int8)

ZERO = np.float32(0)

FEW = 4096
"""Weights of which a plain reduction costs less than the moves."""

NEAR = 1 << 15
"""Weights moved at once: what is read eight times over then stays in the second-level cache."""

LONG = 256
"""Weights of a group that is long enough to be reduced where it lies."""


def quads(x: F32) -> F32:  # f32[b, n] -> f32[n / 4, 4 * b]
    """Groups of `n` weights, a multiple of 4, side by side."""
    items = np.ascontiguousarray(x).view("V16")
    turned = np.empty(items.shape[::-1], "V16")
    step = max(NEAR // x.shape[1], 1)
    for start in range(0, len(x), step):
        turned[:, start : start + step] = items[start : start + step].T
    return turned.view(np.float32)


def over_quads(numbers: F32) -> F32:  # f32[b] -> f32[4 * b]
    """A number for each group as a row that meets all of the group's weights."""
    return np.repeat(numbers, 4)


def from_quads(codes: NDArray[Byte]) -> NDArray[Byte]:  # code[n / 4, 4 * b] -> code[b, n]
    """Codes of 8 bits, each group in a row of its own again."""
    words = codes.view(np.uint32)
    rows = np.empty(words.shape[::-1], np.uint32)
    for place, row in enumerate(words):
        rows[:, place] = row
    return rows.view(codes.dtype)


def quad_extremes(parts: F32) -> tuple[F32, F32]:  # f32[n / 4, 4 * b] -> f32[b], f32[b]
    """The least and the largest weight of each group; NaN where there is one."""
    low = np.minimum.reduce(parts, axis=0)  # exact: zeros become +0.0
    high = np.maximum.reduce(parts, axis=0)  # exact: zeros become +0.0
    low, high = np.minimum(low[::2], low[1::2]), np.maximum(high[::2], high[1::2])
    return np.minimum(low[::2], low[1::2]) + ZERO, np.maximum(high[::2], high[1::2]) + ZERO


def magnitude_of(low: F32, high: F32) -> F32:  # f32[b], f32[b] -> f32[b]
    """The larger magnitude of two ends, where `low` is at most `high`; a zero is +0.0."""
    largest: F32 = np.maximum(-low, high) + ZERO
    return largest


def extremes(x: F32) -> tuple[F32, F32]:  # f32[b, n] -> f32[b], f32[b]
    """The least and the largest weight of each group, the first of equals; NaN where there is one.

    That is what a loop with `<` finds, and torch's `min` along an axis.
    """
    if x.shape[1] % 4 or x.shape[1] >= LONG or x.size < FEW:
        low = np.minimum.reduce(x, axis=1)  # exact: zeros are replaced
        high = np.maximum.reduce(x, axis=1)  # exact: zeros are replaced
    else:
        low, high = quad_extremes(quads(x))
    for end in (low, high):
        zero = np.flatnonzero(end == 0)
        end[zero] = x[zero, (x[zero] == 0).argmax(axis=1)]
    return low, high


def extremes_and_zero(x: F32) -> tuple[F32, F32]:  # f32[b, n] -> f32[b], f32[b]
    """The ends of the least range that holds each group and 0.0; a zero is +0.0."""
    low, high = extremes(x)
    return np.where(low >= 0, ZERO, low), np.where(high <= 0, ZERO, high)
