"""MXFP4 and NVFP4: blocks whose codes are the small float E2M1, stored twice as large.

Codes stand for 0, 1, 2, 3, 4, 6, 8, 12 and their negatives; the scale is halved to match. MXFP4
scales 32 weights by a power of two, NVFP4 scales 16 weights by an unsigned E4M3. Halves of a group
share bytes, unlike the pairs of the OCP formats. Encoders choose the nearest code by comparing
rounded distances in the order of codes, so a tie goes to the smaller magnitude and -0 is never
written. Used by llama.cpp for gpt-oss and for checkpoints converted from ModelOpt.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.numerics import minifloat_values
from refquant.schemes.quads import from_quads, magnitude_of, over_quads, quad_extremes, quads

__all__ = ["MXFP4", "NVFP4", "SCHEMES"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Codes = Mapping[str, NDArray[np.integer]]

MX_BLOCK, NV_BLOCK, NV_PART = 32, 64, 16

VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
MIDDLES = np.array([0.5, 1.5, 2.5, 3.5, 5, 7, 10], np.float32)
"""Half-way between neighbouring magnitudes of `VALUES`."""

HALF_POWERS = np.ldexp(np.float32(1), np.arange(-128, 128)).astype(np.float32)
"""Half of an E8M0 scale, `2**(code - 128)`; code 255 is a number here, not NaN."""

FAR = np.float32(1 << 20)
"""Beyond this many scales distances begin to round to one another."""


LARGEST_EXACT = np.float32(2.0**124)
"""Twelve times a larger power is infinite, and as far from every weight as other infinities."""


def _half_e4m3() -> F32:  # -> f32[256]
    """Half of an unsigned E4M3 scale; bit 7 is ignored, 127 is 0, and 255, alone, is 240."""
    magnitudes = minifloat_values(0, 4, 3, 7, "none")
    table = np.tile(magnitudes, 2) * np.float32(0.5)
    table[127] = 0
    return table


HALF_E4M3 = _half_e4m3()


def nearest_codes(parts: F32, scale: F32) -> U8:  # f32[n / 4, 4 * m], f32[m] -> u8[m, n]
    """The code whose value times `scale` is nearest to each weight, the first of equals."""
    codes = _counted(parts, np.abs(parts), [over_quads(middle * scale) for middle in MIDDLES])
    return _tried(codes, parts, scale, ~(magnitude_of(*quad_extremes(parts)) <= FAR * scale))


def _nearest_codes_of_powers(parts: F32, scale: F32, largest: F32) -> U8:
    """As `nearest_codes`, for powers of two: weights over them are exact where it matters."""
    inverse = np.float32(1) / scale
    codes = _counted(parts, np.abs(parts) * over_quads(inverse), [*MIDDLES])
    exact = ((inverse < np.inf) & (scale <= LARGEST_EXACT)) | (largest == 0)
    return _tried(codes, parts, scale, ~(largest <= FAR * scale) | ~exact)


def _counted(parts: F32, magnitude: F32, bounds: Sequence[F32 | np.float32]) -> U8:
    """Codes in rows: how many bounds a magnitude exceeds, and bit 3 for the sign."""
    codes = np.zeros(parts.shape, np.uint8)
    for bound in bounds:
        codes += (magnitude > bound).view(np.uint8)
    negative = (parts < 0).view(np.uint8)
    negative &= (codes > 0).view(np.uint8)
    negative *= np.uint8(8)
    codes += negative
    return from_quads(codes)


def _tried(codes: U8, parts: F32, scale: F32, far: NDArray[np.bool_]) -> U8:
    """The codes, those of groups that are `far` found by comparing all distances."""
    if far.any():
        chosen = (
            parts.reshape(len(parts), -1, 4)[:, far]
            .transpose(0, 2, 1)
            .reshape(-1, np.count_nonzero(far))
        )
        codes[far] = _nearest_by_trial(chosen, scale[far]).T
    return codes


def _nearest_by_trial(parts: F32, scale: F32) -> U8:  # f32[n, m], f32[m] -> u8[n, m]
    distance = np.abs((VALUES[:, None] * scale)[:, None] - parts)
    first: NDArray[np.intp] = distance.argmin(axis=0)
    return first.astype(np.uint8)


def _tolerances() -> NDArray[np.float64]:  # -> f64[400]
    """How far below `2**k`, in ulps of the binade under it, log2 rounds to k; index 200 + k.

    `log2(2**k * (1 - t * 2**-24))` is `k - t * 2**-24 / ln 2`, which rounds to k while it is
    nearer than half an ulp of the numbers next to k.
    """
    natural_log_of_2 = 0.6931471805599453
    table = np.zeros(400)
    for k in range(-150, 129):
        if k:
            wide = (k - 1).bit_length() if k > 0 else (-k).bit_length()
            table[200 + k] = 2.0 ** (wide - 1) * natural_log_of_2
    return table


TOLERANCES = _tolerances()


def floor_of_log2(x: F32) -> NDArray[np.int64]:  # f32[m] -> i64[m]
    """`floor(log2(x))` with log2 rounded to binary32 first, for positive finite numbers.

    Just below a power of two the rounding reaches the power, and the floor is one too high.
    """
    fraction, power = np.frexp(x)
    missing = (np.float32(1) - fraction).astype(np.float64) * 2.0**24
    reached = missing < TOLERANCES[200 + power]
    exponent: NDArray[np.int64] = power.astype(np.int64) - 1 + reached
    return exponent


def _passing_over_nan(largest: F32, parts: F32) -> F32:  # f32[m], f32[n / 4, 4 * m] -> f32[m]
    """The largest magnitudes again, of the numbers alone in groups with a NaN."""
    if not np.isnan(largest).any():
        return largest
    by_place = np.fmax.reduce(np.abs(parts), axis=0, initial=np.float32(0))
    found: F32 = np.fmax.reduce(by_place.reshape(-1, 4), axis=1)  # exact: magnitudes
    return found


def encode_mxfp4(x: F32) -> Codes:  # f32[b, 32] -> e u8[b], q u4[b, 32]
    """Scale `2**(floor(log2(largest)) - 2)`; outside of 0..255 its code wraps, as C's cast does."""
    parts = quads(x)
    extent = magnitude_of(*quad_extremes(parts))
    largest = _passing_over_nan(extent, parts)
    usable = (largest > 0) & np.isfinite(largest)
    exponent = floor_of_log2(np.where(usable, largest, np.float32(1)))
    code = np.where(usable, (exponent + 125) & 255, 0).astype(np.uint8)
    return {"e": code, "q": _nearest_codes_of_powers(parts, HALF_POWERS[code], extent)}


MXFP4 = Scheme(
    name="ggml/mxfp4",
    title="E2M1 codes, one power of two for 32 weights",
    layout=Layout(
        {"blocks": Plane((MX_BLOCK,), 17)},
        {
            "e": field("blocks", Unsigned(8), "0", over=MX_BLOCK),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+8"),
        },
        ("mul", ("lut", "scales", "e"), ("lut", "values", "q")),
        {"scales": HALF_POWERS, "values": VALUES},
    ),
    encode=encode_mxfp4,
    group=(MX_BLOCK,),
    non_finite=True,
)


def e4m3_code(x: F32) -> U8:  # f32[m] -> u8[m]
    """The unsigned E4M3 code that ggml rounds to: ties up, at most 126, subnormals cut at 7."""
    held = np.where(x > 0, np.minimum(x, np.float32(448)), np.float32(0))
    bits = held.view(np.int32)
    power = (bits >> 23) - 127 + 7
    # Mantissa and exponent are rounded together: a carry moves to the next exponent.
    rounded = np.minimum(((bits >> 19) - ((127 - 7) << 4) + 1) >> 1, 126)
    small = np.minimum((held * np.float32(512) + np.float32(0.5)).astype(np.int32), 7)
    code = np.where(power <= 0, small, np.where(power >= 15, 126, rounded))
    return np.where(rounded >= 120, np.where(power <= 0, small, 126), code).astype(np.uint8)


def encode_nvfp4(x: F32) -> Codes:  # f32[b, 64] -> s u8[b, 4], q u4[b, 64]
    """The scale of 16 weights is a sixth of the largest, rounded; there is no tensor scale."""
    parts = quads(x.reshape(-1, NV_PART))
    largest = _passing_over_nan(magnitude_of(*quad_extremes(parts)), parts)
    code = e4m3_code(largest / np.float32(6))
    return {"s": code, "q": nearest_codes(parts, HALF_E4M3[code]).reshape(-1, NV_BLOCK)}


NVFP4 = Scheme(
    name="ggml/nvfp4",
    title="E2M1 codes, an unsigned E4M3 scale for 16 of 64 weights",
    layout=Layout(
        {"blocks": Plane((NV_BLOCK,), 36)},
        {
            "s": field("blocks", Unsigned(8), "4:8", over=NV_PART),
            "q": field("blocks", Unsigned(4), "(4,2,8):(64,4,8)+32"),
        },
        ("mul", ("lut", "scales", "s"), ("lut", "values", "q")),
        {"scales": HALF_E4M3, "values": VALUES},
    ),
    encode=encode_nvfp4,
    group=(NV_BLOCK,),
    non_finite=True,
)

SCHEMES = (MXFP4, NVFP4)
