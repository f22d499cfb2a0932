"""Matrices held as codes by group, a byte or half a byte a weight, a group's codes in one column.

Turning a tile of codes into binary32 numbers is one cast that the processor does many at a time.
For few tokens the codes are multiplied as they are and each group's sum is scaled afterwards; for
many tokens it is cheaper to scale the tile first. The first adds a group before scales and minima
come in, so its last bits are not those of decoded weights; in `exact` arithmetic the tile is always
scaled, and holds the very values of the scheme.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.layout.tiles import row_unit
from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.factors import Factors, factors_of
from refquant.runtime.linear import whole_product
from refquant.runtime.memory import forget_file_pages
from refquant.runtime.ops import Floats
from refquant.runtime.scratch import Scratch
from refquant.runtime.tile_bounds import tile_bounds
from refquant.tensor import QuantizedTensor

__all__ = ["GroupedMatrix", "grouped"]

# From so many tokens on, scaling the tile costs less than scaling every token's sums.
FEW_TOKENS: Final = 8

# Weights of a tile. As numbers they fill 2 MB, which is more than a second-level cache; smaller
# tiles have shorter rows or fewer groups, and lose more by calls than they gain.
TILE_WEIGHTS: Final = 1 << 19

# Weights whose codes are unpacked at a time, so that no large matrix is in memory twice.
PORTION_WEIGHTS: Final = 1 << 22

NIBBLE: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class GroupTile:
    """Outputs `start` to `stop`: codes int[groups, group, n], scale and minimum f32[groups, 1, n].

    Weight k of output n is `scale * code + minimum`, the minimum left out where it is None. Where
    codes are `nibbles`, [groups, group / 2, n], the lower half of byte j is code j of the group and
    the upper half is code j + group / 2.
    """

    start: int
    stop: int
    codes: NDArray[np.integer]
    scale: Floats
    minimum: Floats | None
    nibbles: bool = False

    def numbers(self, scratch: Scratch) -> Floats:
        """The codes as f32[groups, group, n], in the scratch."""
        groups, height, outputs = self.codes.shape
        numbers = scratch.array((groups, height * (1 + self.nibbles), outputs))
        if self.nibbles:
            self._unpack(numbers, scratch)
        else:
            np.copyto(numbers, self.codes, casting="unsafe")
        return numbers

    def _unpack(self, numbers: Floats, scratch: Scratch) -> None:  # f32[g, s, n]
        half = self.codes.shape[1]
        part = scratch.codes(self.codes)
        if self.codes.dtype == np.int8:
            # Shifting right repeats the sign.
            np.left_shift(self.codes, NIBBLE, out=part)
            np.right_shift(part, NIBBLE, out=part)
        else:
            np.bitwise_and(self.codes, 15, out=part)
        np.copyto(numbers[:, :half], part, casting="unsafe")
        np.right_shift(self.codes, NIBBLE, out=part)
        np.copyto(numbers[:, half:], part, casting="unsafe")


@dataclass(frozen=True, slots=True, eq=False)
class GroupedMatrix:
    """A matrix [outputs, inputs] as tiles of codes, and the buffer in which they become numbers."""

    shape: tuple[int, int]
    tiles: tuple[GroupTile, ...]
    scratch: Scratch

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first output of each tile, and the end."""
        return (*(tile.start for tile in self.tiles), self.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and minima."""
        held = [one for tile in self.tiles for one in (tile.codes, tile.scale, tile.minimum)]
        return sum(one.nbytes for one in held if one is not None)

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        return whole_product(self, x, bias)

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write the outputs of tiles `first` to `last`."""
        tiles, kind = self.tiles[first:last], primitives()
        if kind.is_exact or (len(x) > FEW_TOKENS and not kind.each_row_alone):
            self._scaled_first(x, y, tiles)
        elif kind.each_row_alone:
            self._scaled_after([x[row : row + 1] for row in range(len(x))], y, tiles)
        else:
            self._scaled_after([x], y, tiles)

    def _scaled_first(
        self, x: Floats, y: Floats, tiles: Sequence[GroupTile]
    ) -> None:  # f32[t, k], f32[t, n]
        for tile in tiles:
            numbers = tile.numbers(self.scratch)
            np.multiply(numbers, tile.scale, out=numbers)
            if tile.minimum is not None:
                np.add(numbers, tile.minimum, out=numbers)
            columns = numbers.reshape(self.shape[1], -1)
            part = slice(tile.start - tiles[0].start, tile.stop - tiles[0].start)
            primitives().row_products(x, columns.T, y[:, part])

    def _scaled_after(
        self, parts: Sequence[Floats], y: Floats, tiles: Sequence[GroupTile]
    ) -> None:  # several f32[t, k], f32[t, n]
        """Each of `parts`, rows of x, is multiplied by itself."""
        if not tiles:
            return
        groups, has_minimum = len(tiles[0].scale), tiles[0].minimum is not None
        ones = np.ones(groups, np.float32)
        inputs = [_by_group(part, groups) for part in parts]
        totals = [_totals(one) if has_minimum else None for one in inputs]
        for tile in tiles:
            numbers = tile.numbers(self.scratch)
            part = slice(tile.start - tiles[0].start, tile.stop - tiles[0].start)
            row = 0
            for by_group, total in zip(inputs, totals, strict=True):
                stop = row + by_group.shape[1]
                sums = np.matmul(by_group, numbers)  # [g, t, n]
                np.multiply(sums, tile.scale, out=sums)
                # BLAS adds rows quicker than a reduction does.
                added = np.matmul(ones, sums.reshape(groups, -1)).reshape(stop - row, -1)
                if total is not None and tile.minimum is not None:
                    np.add(added, np.matmul(total, tile.minimum[:, 0]), out=added)
                y[row:stop, part] = added
                row = stop


def _by_group(x: Floats, groups: int) -> Floats:  # f32[t, k], int -> f32[g, t, s]
    return np.ascontiguousarray(x.reshape(len(x), groups, -1).swapaxes(0, 1))


def _totals(by_group: Floats) -> Floats:  # f32[g, t, s] -> f32[t, g]
    ones = np.ones(by_group.shape[2], np.float32)
    totals: Floats = np.matmul(by_group, ones).T
    return totals


def grouped(
    parts: Sequence[QuantizedTensor], scratch: Scratch, *, pack: bool = False
) -> GroupedMatrix | None:
    """Matrices with the same inputs, stacked; None where they are no bytes times a group's scale.

    It is None, too, where their groups differ, or where only some of them have minima. With `pack`
    two codes share a byte where they are small enough.
    """
    outputs, inputs = sum(part.shape[0] for part in parts), parts[0].shape[1]
    bounds = tile_bounds(outputs, inputs, TILE_WEIGHTS)
    tiles: list[GroupTile] = []
    for first, last in _portions(parts, bounds):
        rows = _between(parts, bounds[first], bounds[last])
        found = _tiles(rows, bounds[first : last + 1], pack=pack)
        if found is None:
            return None
        tiles += found
        forget_file_pages(parts[0])
    if len({(len(tile.scale), tile.minimum is None) for tile in tiles}) > 1:
        return None
    scratch.reserve((bounds[1] - bounds[0]) * inputs)
    return GroupedMatrix((outputs, inputs), tuple(tiles), scratch)


def _portions(parts: Sequence[QuantizedTensor], bounds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of tiles whose weights are decoded together; so are rows that share records."""
    last = len(bounds) - 1
    whole = any(row_unit(part.layout, part.shape) > 1 for part in parts)
    step = last if whole else max(PORTION_WEIGHTS // (bounds[1] * parts[0].shape[1]), 1)
    for first in range(0, last, step):
        yield first, min(first + step, last)


def _between(parts: Sequence[QuantizedTensor], start: int, stop: int) -> list[QuantizedTensor]:
    """Rows `start` to `stop` of the matrices stacked."""
    found = []
    for part in parts:
        height = part.shape[0]
        if start <= 0 and height <= stop:
            found.append(part)
        elif start < height and stop > 0:
            found.append(part.rows(max(start, 0), min(stop, height)))
        start, stop = start - height, stop - height
    return found


def _tiles(
    parts: Sequence[QuantizedTensor], bounds: Sequence[int], *, pack: bool
) -> list[GroupTile] | None:
    """The tiles between these outputs, which the parts hold."""
    found = [factors_of(part) for part in parts]
    held = [(one, None if one is None else _bytes(one)) for one in found]
    factors = [one for one, codes in held if one is not None and codes is not None]
    if len(factors) < len(parts) or len({(one.group, one.minimum is None) for one in factors}) > 1:
        return None
    codes = _stacked([one for _, one in held if one is not None])
    minima = [one.minimum for one in factors if one.minimum is not None]
    scale = _stacked([one.scale for one in factors])
    minimum = _stacked(minima) if minima else None
    nibbles = pack and _fit_nibbles(codes, factors[0].group)
    tiles = []
    for start, stop in pairwise(bounds):
        part = slice(start - bounds[0], stop - bounds[0])
        columns = _columns(codes[part]).reshape(scale.shape[1], -1, stop - start)
        tiles.append(
            GroupTile(
                start,
                stop,
                _halved(columns) if nibbles else columns,
                np.ascontiguousarray(scale[part].T)[:, np.newaxis],
                None if minimum is None else np.ascontiguousarray(minimum[part].T)[:, np.newaxis],
                nibbles,
            )
        )
    return tiles


def _stacked(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _columns(rows: NDArray[np.integer]) -> NDArray[np.integer]:
    """Bytes [n, k] as [k, n], four moved at a time where rows have a multiple of four."""
    outputs, inputs = rows.shape
    if inputs % 4 or not rows.flags.c_contiguous:
        return np.ascontiguousarray(rows.T)
    fours = np.empty((inputs // 4, outputs), np.uint32)
    words = rows.view(np.uint32)
    for start in range(0, outputs, 64):  # what a block reads and writes stays in a cache
        fours[:, start : start + 64] = words[start : start + 64].T
    columns = np.empty((inputs // 4, 4, outputs), rows.dtype)
    for place in range(4) if sys.byteorder == "little" else range(3, -1, -1):
        np.copyto(columns[:, place], fours, casting="unsafe")  # the lowest byte
        np.right_shift(fours, 8, out=fours)
    return columns.reshape(inputs, outputs)


def _fit_nibbles(codes: NDArray[np.integer], group: int) -> bool:
    lowest, highest = (-8, 7) if codes.dtype == np.int8 else (0, 15)
    return group % 2 == 0 and codes.min() >= lowest and codes.max() <= highest


def _halved(codes: NDArray[np.integer]) -> NDArray[np.integer]:
    """Codes [g, s, n] as nibbles [g, s / 2, n]."""
    half = codes.shape[1] // 2
    packed = np.ascontiguousarray(codes[:, :half] & codes.dtype.type(15))
    packed |= codes[:, half:] << codes.dtype.type(NIBBLE)
    return packed


def _bytes(found: Factors) -> NDArray[np.integer] | None:
    codes = found.centred()
    if codes is None or codes.dtype.itemsize == 1:
        return codes
    return codes.astype(np.int8) if codes.min() >= -128 and codes.max() <= 127 else None
