"""The words of the layout algebra: planes, records, fields and slices, as plain immutable data.

A quantized tensor is a set of planes. A plane is an array of fixed-size byte records in C order
over a grid; each record covers a rectangular block of the tensor. Inside a record live fields:
bit slices with a base and a strided shape, counted in bits. Nothing here touches an array; the
modules beside this one turn the same declaration into sizes, views, values and descriptors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

__all__ = [
    "Digits",
    "Element",
    "Field",
    "Minifloat",
    "Plane",
    "Signed",
    "Slice",
    "Specials",
    "Unsigned",
    "field",
    "slice_at",
]

Specials = Literal["ieee", "fn", "fnuz", "none", "e8m0"]


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An unsigned integer code of `bits` bits."""

    bits: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A two's complement integer code of `bits` bits."""

    bits: int


@dataclass(frozen=True, slots=True)
class Minifloat:
    """A binary float of `sign + exponent + mantissa` bits.

    `specials` says which codes are not finite: `ieee` keeps the top exponent for infinities and
    NaN, `fn` has no infinity and NaN only where all bits but the sign are ones, `fnuz` has the
    single NaN at negative zero, `none` has neither, `e8m0` is a bare exponent whose code 255 is
    NaN (the suffixes are those of ml_dtypes).
    """

    sign: int
    exponent: int
    mantissa: int
    bias: int
    specials: Specials

    @property
    def bits(self) -> int:
        """Width of one code."""
        return self.sign + self.exponent + self.mantissa


@dataclass(frozen=True, slots=True)
class Digits:
    """`count` digits of base `base` stored in one byte as a rounded-up binary fraction.

    The byte holds `ceil(v * 256 / base**count)` for the number `v` whose most significant digit
    comes first; digit k is recovered as `((byte * base**k mod 256) * base) >> 8`, which is how
    ggml packs five ternary digits (TQ1_0). A piece of this element names bytes; its codes run
    digit by digit: all first digits of the piece, then all second digits, and so on. Where a
    record needs fewer codes than its bytes hold, the last digits of the last piece are not used.
    """

    base: int
    count: int

    @property
    def bits(self) -> int:
        """Width of the stored byte."""
        return 8


Element = Unsigned | Signed | Minifloat | Digits


@dataclass(frozen=True, slots=True)
class Slice:
    """`prod(shape)` runs of `bits` bits; run (i, j, ...) begins at `base + i*s0 + j*s1 + ...`.

    Bit 0 is the least significant bit of byte 0. Runs are numbered in C order of `shape`, the
    last axis fastest.
    """

    bits: int
    base: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of runs."""
        return prod(self.shape)

    @property
    def end(self) -> int:
        """One past the last bit that any run touches."""
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return self.base + reach + self.bits

    def starts(self) -> Iterator[int]:
        """First bit of each run, in order."""
        for index in product(*map(range, self.shape)):
            yield self.base + sum(i * s for i, s in zip(index, self.strides, strict=True))


_AXES = r"\d+|\(\d+(?:,\d+)*\)"
_NOTATION = re.compile(rf"(?:({_AXES}):({_AXES})(?:\+(\d+))?|(\d+))")


def slice_at(bits: int, place: str) -> Slice:
    """The slice written as `shape:strides+base`, all in bits, for instance `(2,16):(4,8)+16`.

    A bare number is the base of a single run; `+base` may be left out when it is 0.
    """
    found = _NOTATION.fullmatch(place.replace(" ", ""))
    if not found:
        raise ValueError(f"slice {place!r}: expected shape:strides+base, e.g. (2,16):(4,8)+16")

    def numbers(text: str | None) -> tuple[int, ...]:
        return tuple(int(n) for n in text.strip("()").split(",")) if text else ()

    shape, strides = numbers(found[1]), numbers(found[2])
    if len(shape) != len(strides):
        raise ValueError(f"slice {place!r}: {len(shape)} extents but {len(strides)} strides")
    return Slice(bits, int(found[3] or found[4] or 0), shape, strides)


@dataclass(frozen=True, slots=True)
class Field:
    """One quantity of a record: its codes' type, their place, and how many weights share one.

    `pieces` are concatenated; each piece joins its slices, low bits first, and may be shorter
    than the element's width (the missing high bits are zero). `over` has one extent for each of
    the last axes of the tensor, 0 for a whole axis: 1 for codes, 32 for a scale of 32 weights.
    """

    plane: str
    element: Element
    over: tuple[int, ...]
    pieces: tuple[tuple[Slice, ...], ...]

    @property
    def count(self) -> int:
        """Number of codes in one record."""
        digits = self.element.count if isinstance(self.element, Digits) else 1
        return sum(piece[0].count for piece in self.pieces) * digits


@dataclass(frozen=True, slots=True)
class Plane:
    """An array of records of `bytes` bytes, each covering `block` weights of the last axes.

    An extent of 0 stands for the whole axis; axes before the given ones have extent 1. `order`
    permutes the grid's axes in storage: `(1, 0)` stores the last axis outermost.
    """

    block: tuple[int, ...]
    bytes: int
    order: tuple[int, ...] | None = None


def field(
    plane: str,
    element: Element,
    *pieces: str | tuple[tuple[int, str], ...],
    over: int | tuple[int, ...] = 1,
) -> Field:
    """A field in the notation of the scheme files.

    A piece is a place (its width is the element's) or a tuple of `(bits, place)` joined low bits
    first: `field("blocks", Unsigned(5), ((4, "(2,16):(4,8)+48"), (1, "32:1+16")))`.
    """
    joined = tuple(
        (slice_at(element.bits, piece),)
        if isinstance(piece, str)
        else tuple(slice_at(bits, place) for bits, place in piece)
        for piece in pieces
    )
    extents = (over,) if isinstance(over, int) else over
    return Field(plane, element, extents, joined)
