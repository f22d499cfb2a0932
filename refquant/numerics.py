"""Small floats as exact binary32 values, and the rounding rules that schemes name.

Everything here is exact or rounds once: tables are built from the five numbers of a format with
integer arithmetic, conversions move bits, and no function of the C library is called.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bfloat16_bits",
    "float16_bits",
    "float32_from_bfloat16",
    "float32_from_float16",
    "minifloat_bits",
    "minifloat_values",
    "round_half_away",
]

F32 = NDArray[np.float32]

HALF_RANGE = np.uint32(113 << 23), np.uint32(143 << 23)
"""The bits of 2**-14 and of 2**16, between which binary16 is normal or rounds to infinity."""


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
    """The nearest IEEE binary16 codes, ties to even; magnitudes from 65520 become infinite.

    Numbers in the range of the normal ones are rounded as integers: what is dropped, plus just less
    than one half and the last bit that stays, carries when it should, into the exponent too.
    NumPy's cast, which takes elements one at a time on most machines, has the others.
    """
    flat = np.ascontiguousarray(x, np.float32)
    bits = flat.view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    rounded = magnitude >> np.uint32(13)
    rounded &= np.uint32(1)
    rounded += magnitude
    rounded -= np.uint32((112 << 23) - 0xFFF)
    rounded >>= np.uint32(13)
    rounded |= (bits >> np.uint32(16)) & np.uint32(0x8000)
    codes = rounded.astype(np.uint16)
    magnitude -= HALF_RANGE[0]
    odd = magnitude >= HALF_RANGE[1] - HALF_RANGE[0]
    if odd.any():
        with np.errstate(over="ignore"):
            codes[odd] = flat[odd].astype(np.float16).view(np.uint16)
    return codes.reshape(x.shape)


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


def minifloat_bits(
    x: F32,
    form: tuple[int, int, int, int, str],
    overflow: Literal["special", "saturate"] = "special",
) -> NDArray[np.uint8]:  # f32[...] -> u8[...]
    """The nearest codes of a signed float of at most 8 bits, ties to the even code.

    `form` is (sign, exponent, mantissa, bias, specials), its exponent narrower than binary32's.
    What lies beyond the largest number after rounding, infinities included, becomes infinite, or
    NaN in formats without infinities (`special`), or the largest number (`saturate`, and always
    in formats with neither). A NaN stays NaN and keeps its sign where the format has two; formats
    without NaN store the zero of the other sign, as ml_dtypes does.
    """
    _, exponent, mantissa, _, specials = form
    top, sign_bit = (1 << (exponent + mantissa)) - 1, np.uint32(1 << (exponent + mantissa))
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    code = _nearest_magnitudes(magnitude, form)
    infinity = top ^ ((1 << mantissa) - 1)
    quiet = {"ieee": top ^ ((1 << (mantissa - 1)) - 1), "fn": top}.get(specials, 0)
    largest = {"ieee": infinity - 1, "fn": top - 1}.get(specials, top)
    over, nan = code > np.uint32(largest), magnitude > np.uint32(0x7F800000)
    keep = overflow == "saturate" or specials == "none"
    code[over] = largest if keep else infinity if specials == "ieee" else top
    code[nan] = quiet
    sign = bits >> np.uint32(31) << np.uint32(exponent + mantissa)
    if specials == "none":
        sign[nan] ^= sign_bit
    if specials == "fnuz":
        sign[code == 0] = 0
        lost = nan if keep else over | nan
        code[lost], sign[lost] = 0, sign_bit
    return (code | sign).astype(np.uint8)


def _nearest_magnitudes(
    magnitude: NDArray[np.uint32], form: tuple[int, int, int, int, str]
) -> NDArray[np.uint32]:  # u32[...] -> u32[...]
    """Codes without signs, whose exponents run on beyond the format's."""
    _, _, mantissa, bias, _ = form
    shift = np.uint32(23 - mantissa)
    odd = (magnitude >> shift) & np.uint32(1)
    rounded = (magnitude + np.uint32((1 << (22 - mantissa)) - 1) + odd) >> shift
    # Added to 2**23 quanta of the subnormals, a magnitude is rounded to whole quanta.
    anchor = np.uint32(127 + 1 - bias - mantissa + 23) << np.uint32(23)
    with np.errstate(invalid="ignore"):
        small = (magnitude.view(np.float32) + anchor.view(np.float32)).view(np.uint32) - anchor
    normal = magnitude >= np.uint32((127 + 1 - bias) << 23)
    return np.where(normal, rounded - np.uint32((127 - bias) << mantissa), small)
