"""Rounding to nearest under float16 scales and integer zero points, without calibration.

GPTQ and AWQ are searches over calibration data; what they share with every other producer of their
files is the meaning of scale and zero point. This is the plain choice of both: the range of each
group, 0.0 included, and codes that follow the scale as it is stored.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import float16_bits, float32_from_float16
from refquant.schemes.quads import extremes_and_zero

__all__ = ["LARGEST_SCALE", "LEAST_SCALE", "round_to_nearest"]

F32 = NDArray[np.float32]

LEAST_SCALE = np.float32(2.0**-24)
"""The least positive float16."""

LARGEST_SCALE = np.float32(65504)
"""The largest finite float16."""


def round_to_nearest(
    x: F32, bits: int, *, symmetric: bool, least_zero: int = 0
) -> tuple[
    NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]
]:  # f32[g, n] -> u16[g], u8[g], u8[g, n]
    """Scale, zero point and codes: `code = round(x / scale) + zero_point`, limited to all codes.

    A symmetric zero point is half the number of codes; others are -min / scale, rounded, and at
    least `least_zero`. A group of zeros gets the scale of the range -1..1.
    """
    top = np.float32((1 << bits) - 1)
    low, high = extremes_and_zero(x)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    empty = (low == 0) & (high == 0)
    low, high = np.where(empty, np.float32(-1), low), np.where(empty, np.float32(1), high)
    # A difference beyond binary32 is infinite, and so the scale the largest.
    limited: F32 = np.clip((high - low) / top, LEAST_SCALE, LARGEST_SCALE)
    stored = float16_bits(limited)
    scale = float32_from_float16(stored)
    if symmetric:
        zero = np.full(len(x), np.float32(1 << (bits - 1)))
    else:
        zero = np.clip(np.rint(-low / scale), np.float32(least_zero), top)
    codes = np.clip(np.rint(x / scale[:, None]) + zero[:, None], 0, top)
    return stored, zero.astype(np.uint8), codes.astype(np.uint8)
