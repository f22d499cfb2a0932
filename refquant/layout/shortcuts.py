"""Numbers for many codes without a look-up each, found from a table of all codes.

Taking entries of a table one by one costs NumPy about a nanosecond. Where the table of a field is
a staircase of small integers, or the values of a small float, a few operations over whole arrays
of bytes or words give the same bits. What follows is read off the table, and checked against it
for every code, so it holds for whatever a layout declares.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Minifloat
from refquant.numerics import float32_from_float16, minifloat_values

__all__ = ["MovedBits", "Staircase", "code_table", "move", "moved_bits", "staircase"]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

MOST_STEPS = 4
"""Steps of a staircase beyond which taking entries is as fast."""


@dataclass(frozen=True, slots=True)
class Staircase:
    """`first + code`, and `height` more above each `edge`, for the codes below the top bit.

    Where `folds` is true, codes with their top bit set stand for the same numbers negated. All of
    it holds in bytes that wrap around.
    """

    bits: int
    first: int
    steps: tuple[tuple[int, int], ...]
    folds: bool


def staircase(table: F32) -> Staircase | None:
    """The staircase with the numbers of `table`, if they are small integers and it has few steps.

    A table with a negative zero has none.
    """
    bits = len(table).bit_length() - 1
    whole = (table == np.rint(table)) & (np.abs(table) <= 127)
    if len(table) != 1 << bits or not 2 <= bits <= 8:
        return None
    if not (whole & ~(np.signbit(table) & (table == 0))).all():
        return None
    numbers, half = table.astype(np.int64), len(table) // 2
    folds = bool((numbers[half:] == -numbers[:half]).all())
    rises = np.diff(numbers[:half] if folds else numbers) - 1
    edges = np.flatnonzero(rises)
    if len(edges) > MOST_STEPS:
        return None
    steps = tuple((int(edge), int(rises[edge]) % 256) for edge in edges)
    return Staircase(bits, int(numbers[0]) % 256, steps, folds)


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
