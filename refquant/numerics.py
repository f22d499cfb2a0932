"""Small floats as exact binary32 values, and the rounding rules that schemes name.

Everything here is exact or rounds once: tables are built from the five numbers of a format with
integer arithmetic, conversions move bits, and no function of the C library is called.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bfloat16_bits",
    "float16_bits",
    "float32_from_bfloat16",
    "float32_from_float16",
    "minifloat_values",
    "round_half_away",
]

F32 = NDArray[np.float32]


def float32_from_bfloat16(bits: NDArray[np.uint16]) -> F32:  # u16[...] -> f32[...]
    """The binary32 values whose upper halves are `bits`: exact for every code, NaN included."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    values: F32 = wide.view(np.float32)
    return values


def bfloat16_bits(x: F32) -> NDArray[np.uint16]:  # f32[...] -> u16[...]
    """The nearest bfloat16 codes, ties to even; a NaN keeps its upper bits and becomes quiet."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    return np.where(magnitude > np.uint32(0x7F800000), quiet, rounded).astype(np.uint16)


def float32_from_float16(bits: NDArray[np.uint16]) -> F32:  # u16[...] -> f32[...]
    """The binary32 values of IEEE binary16 codes: exact, infinities and NaN payloads kept.

    The exponent is moved into place and the product with 2**112 re-biases it, subnormals
    included, because that product is exact; codes with the top exponent get 255 instead. NumPy's
    own cast is one element at a time on most machines.
    """
    signed = np.ascontiguousarray(bits).view(np.int16).astype(np.int32)
    signed <<= np.int32(13)
    word = signed.view(np.uint32)
    word &= np.uint32(0x8FFFE000)
    value: F32 = word.view(np.float32)
    special = (bits & np.uint16(0x7C00)) == np.uint16(0x7C00)
    if not special.any():
        value *= np.float32(2.0**112)
        return value
    kept = word | np.uint32(0x7F800000)
    with np.errstate(invalid="ignore", over="ignore"):
        value *= np.float32(2.0**112)
    value[special] = kept.view(np.float32)[special]
    return value


def float16_bits(x: F32) -> NDArray[np.uint16]:  # f32[...] -> u16[...]
    """The nearest IEEE binary16 codes, ties to even; magnitudes from 65520 become infinite."""
    with np.errstate(over="ignore"):
        bits: NDArray[np.uint16] = x.astype(np.float16).view(np.uint16)
    return bits


def round_half_away(x: F32) -> F32:  # f32[...] -> f32[...]
    """The nearest integers, ties away from zero, as C's `roundf`.

    `|x| + 0.5` would round up just below a tie, so the fraction is taken first: it is exact.
    """
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.asarray(np.copysign(whole + (magnitude - whole >= np.float32(0.5)), x))


@lru_cache(maxsize=64)
def minifloat_values(
    sign: int, exponent: int, mantissa: int, bias: int, specials: str
) -> F32:  # -> f32[2 ** bits]
    """The binary32 value of every code of a float of at most 16 bits, in code order.

    A code with exponent field 0 is subnormal: `m * 2**(1 - bias - mantissa)`; the others are
    `(2**mantissa + m) * 2**(e - bias - mantissa)`; `e8m0` has no mantissa and no subnormals.
    """
    codes = np.arange(1 << (sign + exponent + mantissa), dtype=np.int64)
    fraction = codes & ((1 << mantissa) - 1)
    power = (codes >> mantissa) & ((1 << exponent) - 1)
    normal = (power > 0) | (specials == "e8m0")
    significand = fraction + (normal.astype(np.int64) << mantissa)
    scale = np.where(normal, power, 1) - bias - mantissa
    values = np.ldexp(significand.astype(np.float64), scale)
    negative = (codes >> (exponent + mantissa)) == 1 if sign else np.zeros(codes.shape, np.bool_)
    values[negative] = -values[negative]
    top, full = power == (1 << exponent) - 1, (1 << mantissa) - 1
    if specials == "ieee":
        values[top & (fraction == 0)] = np.where(negative, -np.inf, np.inf)[top & (fraction == 0)]
        values[top & (fraction > 0)] = np.nan
    elif specials == "fn":
        values[top & (fraction == full)] = np.nan
    elif specials == "fnuz":
        values[negative & (power == 0) & (fraction == 0)] = np.nan
    elif specials == "e8m0":
        values[top] = np.nan
    table: F32 = values.astype(np.float32)
    table.flags.writeable = False
    return table
