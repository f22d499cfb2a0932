"""The rules of ggml's oldest formats: codes by one multiplication and one truncation.

Codes are chosen with the scale before its rounding to float16. Ordinary blocks are treated all at
once; the few that need C's loop to the letter are done again.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.ggml.c_semantics import cast_int8, first_extreme, half_bits, reciprocal
from refquant.schemes.ggml.columns import columns, importance_weights
from refquant.schemes.ggml.fits import AffineSearch, fit_affine, fit_symmetric
from refquant.schemes.quads import from_quads, over_quads, quad_extremes, quads

__all__ = ["around_zero", "around_zero_weighted", "between_extremes", "between_extremes_weighted"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

LARGEST = np.finfo(np.float32).max


def around_zero(x: F32, half: int) -> tuple[U16, U8]:  # f32[b, n] -> u16[b], u8[b, n]
    """Scale and codes 0..2 * half - 1: the first weight of largest magnitude gets code 0."""
    parts = quads(x)
    low, high = quad_extremes(parts)
    extreme = np.where(high < -low, low, high)
    scale = extreme * np.float32(-1 / half)
    inverse = reciprocal(scale)
    parts *= over_quads(inverse)
    parts += np.float32(half + 0.5)
    codes = from_quads(np.clip(parts.astype(np.uint8), np.uint8(0), np.uint8(2 * half - 1)))
    bits = half_bits(scale)
    # Which of two opposite extremes comes first, only a search tells; NaN fails all comparisons.
    usual = (high + low != 0) | (low == 0)
    usual &= np.abs(inverse) + (high - low) < np.inf
    if not usual.all():
        bits[~usual], codes[~usual] = _around_zero_slowly(x[~usual], half)
    return bits, codes


def _around_zero_slowly(x: F32, half: int) -> tuple[U16, U8]:  # f32[b, n] -> u16[b], u8[b, n]
    """C's loop for any block: NaN, infinities, and scales too small for a reciprocal included."""
    scale = first_extreme(x) / np.float32(-half)
    quotient = x * reciprocal(scale)[:, None]
    codes = np.minimum(cast_int8(quotient + np.float32(half + 0.5)), np.int8(2 * half - 1))
    return half_bits(scale), codes.view(np.uint8)


def around_zero_weighted(
    x: F32, importance: F32, half: int, size: int
) -> tuple[U16, U8]:  # f32[rows, n], f32[n] -> u16[b], u8[b, size]
    """As `around_zero`, the scale fitted to the weighted squared error."""
    weights = columns(importance_weights(x, importance), size)
    scale, codes = fit_symmetric(columns(x, size), weights, half)
    return half_bits(scale), codes.T.astype(np.uint8)


def between_extremes(
    x: F32, top: int, limit: int
) -> tuple[U16, U16, U8]:  # f32[b, n] -> u16[b], u16[b], u8[b, n]
    """Scale, minimum and codes: 0 is the least weight, `top` the largest; NaN is passed over."""
    parts = quads(x)
    least, high = quad_extremes(parts)
    scale = (high - least) / np.float32(top)
    inverse = reciprocal(scale)
    parts -= over_quads(least)
    parts *= over_quads(inverse)
    parts += np.float32(0.5)
    # At most `top + 0.5` and two roundings, so that no code needs a clip.
    codes = from_quads(parts.astype(np.uint8))
    bits, minima = half_bits(scale), half_bits(least)
    odd = ~(inverse + scale < np.inf)
    odd |= least == 0
    if odd.any():
        bits[odd], minima[odd], codes[odd] = _between_extremes_slowly(x[odd], top, limit)
    return bits, minima, codes


def _between_extremes_slowly(
    x: F32, top: int, limit: int
) -> tuple[U16, U16, U8]:  # f32[b, n] -> u16[b], u16[b], u8[b, n]
    """C's loop for any block; among equal minima the first gives its sign to a stored zero."""
    low = np.where(x < LARGEST, x, LARGEST)
    high = np.where(x > -LARGEST, x, -LARGEST)
    least = np.take_along_axis(low, low.argmin(axis=1)[:, None], 1)
    largest = np.take_along_axis(high, high.argmax(axis=1)[:, None], 1)
    scale = (largest - least)[:, 0] / np.float32(top)
    quotient = (x - least) * reciprocal(scale)[:, None]
    codes = np.minimum(cast_int8(quotient + np.float32(0.5)), np.int8(limit))
    return half_bits(scale), half_bits(least[:, 0]), codes.view(np.uint8)


def between_extremes_weighted(
    x: F32, importance: F32, top: int, size: int
) -> tuple[U16, U16, U8]:  # f32[rows, n], f32[n] -> u16[b], u16[b], u8[b, size]
    """As `between_extremes`, scale and minimum fitted to the weighted squared error."""
    weights = columns(importance_weights(x, importance), size)
    search = AffineSearch(top, -0.9, 0.05, 36)
    scale, low, codes = fit_affine(columns(x, size), weights, search)
    return half_bits(scale), half_bits(-low), codes.T.astype(np.uint8)
