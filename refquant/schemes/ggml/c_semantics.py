"""What C does where NumPy would do something else: first extremes, casts, NaN in comparisons.

ggml's encoders are loops with `<` and casts. Their results for ties, NaN and overflow follow from
the order of the loop and from the conversion instruction of x86-64, and are reproduced here by
operations that give the same bits on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import float16_bits

__all__ = [
    "cast_int8",
    "first_extreme",
    "first_extreme_of_rows",
    "half_bits",
    "loop_max",
    "nearest",
    "nearest_exact",
    "ordered_sum",
    "reciprocal",
]

F32 = NDArray[np.float32]

INT32_END = np.float32(2.0**31)

MAGIC = np.float32(3 << 22)
"""1.5 * 2**23: a sum with it has an ulp of 1, so the addition itself rounds to an integer."""

NEAREST_END = np.float32(1 << 22)


def first_extreme(x: F32) -> F32:  # f32[b, n] -> f32[b]
    """The signed weight of largest magnitude, the first of equals; NaN is never larger.

    A block without a weight above zero gives +0.0, the value the C loop starts from.
    """
    magnitude = np.abs(x)
    place = magnitude.argmax(axis=1)
    rows = np.arange(len(x))
    if np.isnan(magnitude[rows, place]).any():
        place = np.where(np.isnan(magnitude), np.float32(-1), magnitude).argmax(axis=1)
    extreme: F32 = x[rows, place]
    extreme[~(np.abs(extreme) > 0)] = 0
    return extreme


def first_extreme_of_rows(rows: F32) -> F32:  # f32[n, b] -> f32[b]
    """As `first_extreme`, for blocks that are columns."""
    extreme: F32 = np.zeros_like(rows[0])
    largest = np.zeros_like(extreme)
    for row in rows:
        magnitude = np.abs(row)
        larger = magnitude > largest
        np.copyto(extreme, row, where=larger)
        np.copyto(largest, magnitude, where=larger)
    return extreme


def loop_max(magnitude: F32) -> F32:  # f32[b, n] -> f32[b]
    """The result of `m = m > v ? m : v` over a block, from 0: a NaN restarts the maximum."""
    largest = np.asarray(np.maximum.reduce(magnitude, axis=1))  # exact: magnitudes
    broken = np.isnan(largest)
    if broken.any():
        running = np.zeros(np.count_nonzero(broken), np.float32)
        for column in magnitude[broken].T:
            running = np.where(running > column, running, column)
        largest[broken] = running
    return largest


def reciprocal(scale: F32) -> F32:  # f32[b] -> f32[b]
    """`s ? 1/s : 0`, rounded once; infinite where the scale is below about 2**-128."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse: F32 = np.divide(np.float32(1), scale)
    inverse[scale == 0] = 0
    return inverse


def half_bits(x: F32) -> NDArray[np.uint16]:  # f32[...] -> u16[...]
    """The nearest binary16 codes, ties to even; every NaN becomes the quiet one of its sign."""
    bits = float16_bits(x)
    broken = np.isnan(x)
    if broken.any():
        bits[broken] = np.uint16(0x7E00) | (bits[broken] & np.uint16(0x8000))
    return bits


def cast_int8(x: F32) -> NDArray[np.int8]:  # f32[...] -> i8[...]
    """C's `(int8_t)x` on x86-64: toward zero into 32 bits, of which the low 8 are kept.

    Where 32 bits cannot hold the number, NaN included, the instruction gives -2**31, whose low
    byte is 0.
    """
    fits = np.abs(x) < INT32_END
    held = x if fits.all() else np.where(fits, x, np.float32(0))
    return held.astype(np.int32).astype(np.int8)


def nearest(x: F32) -> F32:  # f32[...] -> f32[...], in place
    """C's `nearest_int` for magnitudes below 2**22: ties to even, never -0.0. Overwrites x."""
    x += MAGIC
    x -= MAGIC
    return x


def nearest_exact(x: F32, out: F32 | None = None) -> F32:  # f32[...] -> f32[...]
    """C's `nearest_int` for any operand: the low 23 bits of the sum with 1.5 * 2**23.

    Outside of its range, and for infinities, the result is far below zero; for a NaN without
    payload it is 0. C converts it to an integer, which binary32 holds exactly. With `out`, which
    is not `x`, the memory of both is used.
    """
    bits = np.add(x, MAGIC, out=None if out is None else x).view(np.int32)
    bits &= np.int32(0x7FFFFF)
    bits -= np.int32(1 << 22)
    if out is None:
        return bits.astype(np.float32)
    np.copyto(out, bits)
    return out


def ordered_sum(rows: F32) -> F32:  # f32[n, m] -> f32[m]
    """`0 + rows[0] + rows[1] + ...`, rounded after every addition, as a C loop does.

    NumPy adds whole rows in turn when it reduces the first axis of a C-contiguous array; it takes
    pairs only along the last one, which a single column would become.
    """
    if rows.shape[1] > 1:
        total: F32 = np.add.reduce(rows, axis=0)
    else:
        total = np.add.accumulate(rows, axis=0)[-1]
    return np.add(total, np.float32(0), out=total)
