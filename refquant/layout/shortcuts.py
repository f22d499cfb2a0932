"""Numbers for many codes without a look-up each, found from a table of all codes.

Taking entries of a table one by one costs NumPy most of a nanosecond. Narrow codes are taken two
at a time, which costs as much as one. The bits of wider floats are moved to their places in
binary32; how is read off a table of all codes and checked against it, so it holds for whatever
float a layout declares.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Minifloat
from refquant.numerics import float32_from_float16, minifloat_values

__all__ = [
    "PAIRED_BITS",
    "MovedBits",
    "code_table",
    "move",
    "moved_bits",
    "pair_table",
    "take_pairs",
]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

PAIRED_BITS = 4
"""Width of codes up to which a table of all pairs stays in the first-level cache."""


def pair_table(table: F32) -> NDArray[np.complex64]:  # f32[n] -> c64[256 * n]
    """For two codes in two bytes, read as one number, their two entries as one item."""
    both = np.zeros((256 * len(table), 2), np.float32)
    both[:, 0] = np.resize(np.pad(table, (0, 256 - len(table))), len(both))
    both[:, 1] = np.repeat(table, 256)
    return both.view(np.complex64)[:, 0]


def take_pairs(pairs: NDArray[np.complex64], codes: Codes, out: F32) -> None:
    """The entries of bytes of codes, an even number of them, two at a time."""
    words = codes.reshape(-1).view(np.uint16)
    np.take(pairs, words, out=out.reshape(-1).view(np.complex64), mode="wrap")


@lru_cache(maxsize=64)
def code_table(element: Minifloat) -> F32:  # -> f32[2 ** bits]
    """The number of every code of a float of at most 16 bits, NaN payloads of binary16 included."""
    if element == Minifloat(1, 5, 10, 15, "ieee"):
        return float32_from_float16(np.arange(1 << 16).astype(np.uint16))
    return minifloat_values(
        element.sign, element.exponent, element.mantissa, element.bias, element.specials
    )


@dataclass(frozen=True, slots=True)
class MovedBits:
    """The bits of a small float moved to their places in binary32, times a power of two.

    A code is shifted to the top of its byte or word by a product with `lift`, widened with its
    sign, shifted left by `shift` and masked; the product with `scale` gives exponents their bias
    and is exact. Codes whose sum with `turn`, masked with `low`, is at least `odd` are looked up
    instead: infinities and NaN.
    """

    lift: int
    shift: int
    mask: int
    scale: np.float32
    turn: int
    low: int
    odd: int


@lru_cache(maxsize=64)
def moved_bits(element: Minifloat) -> MovedBits | None:
    """How to move the codes of `element`, or None where that does not give its numbers."""
    width = 8 if element.bits <= 8 else 16
    shift = 23 - element.mantissa - (width - element.bits)
    if element.sign != 1 or element.bits > 16 or not 0 <= 127 - element.bias <= 127 or shift < 0:
        return None
    lift, mask = 1 << (width - element.bits), (1 << (element.bits - 1)) - 1 << 23 - element.mantissa
    full = (1 << element.bits) - 1
    moved = MovedBits(
        lift, shift, mask | 1 << 31, np.float32(2.0 ** (127 - element.bias)), 0, full, full + 1
    )
    numbers = np.empty(full + 1, np.float32)
    with np.errstate(all="ignore"):
        move(np.arange(full + 1).astype(f"u{width // 8}"), moved, numbers)
    wrong = numbers.view(np.uint32) != code_table(element).view(np.uint32)
    return _with_odd_codes(moved, np.flatnonzero(wrong), full)


def move(codes: Codes, moved: MovedBits, out: F32) -> None:  # code[...], f32[...]
    """The numbers of codes, odd ones excepted, written to `out`."""
    if moved.lift > 1:
        codes = codes * codes.dtype.type(moved.lift)
    words = out.view(np.int32)
    np.copyto(words, codes.view(codes.dtype.str.replace("u", "i")))
    np.left_shift(words, np.int32(moved.shift), words)
    np.bitwise_and(words, np.uint32(moved.mask).view(np.int32), words)
    np.multiply(out, moved.scale, out)


def _with_odd_codes(moved: MovedBits, wrong: NDArray[np.intp], full: int) -> MovedBits | None:
    """`moved` with a test that finds the codes `wrong`, and few others."""
    if not len(wrong):
        return moved
    for turn, low in ((0, full >> 1), (full - int(wrong[-1]), full)):
        turned = (np.arange(full + 1) + turn) & low
        odd = int(turned[wrong].min())
        if np.count_nonzero(turned >= odd) == len(wrong):
            return MovedBits(moved.lift, moved.shift, moved.mask, moved.scale, turn, low, odd)
    return None
