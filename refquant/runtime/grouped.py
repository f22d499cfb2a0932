"""Matrices held as one byte a weight: codes by group, a group's codes one below the other.

Turning a tile of codes into binary32 numbers is one cast that the processor does many at a time.
For few tokens the codes are multiplied as they are and each group's sum is scaled afterwards; for
many tokens it is cheaper to scale the tile first. The first adds a group before scales and minima
come in, so its last bits are not those of decoded weights; in `exact` arithmetic the tile is always
scaled, and holds the very values of the scheme.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.factors import Factors, factors_of
from refquant.runtime.linear import Scratch
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor

__all__ = ["GroupedMatrix", "grouped"]

# From so many tokens on, scaling the tile costs less than scaling every token's sums.
FEW_TOKENS: Final = 8

# Weights of a tile: its numbers and the sums of a few tokens stay in a cache of 1 to 4 MB.
TILE_WEIGHTS: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class GroupTile:
    """Outputs `start` to `stop`: codes int[groups, group, n], scale and minimum f32[groups, 1, n].

    Weight k of output n is `scale * code + minimum`, the minimum left out where it is None.
    """

    start: int
    stop: int
    codes: NDArray[np.integer]
    scale: Floats
    minimum: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class GroupedMatrix:
    """A matrix [outputs, inputs] as tiles of codes, and the buffer in which they become numbers."""

    shape: tuple[int, int]
    tiles: tuple[GroupTile, ...]
    scratch: Scratch

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        y = np.empty((len(x), self.shape[0]), np.float32)
        if primitives().is_exact or len(x) > FEW_TOKENS:
            self._scaled_first(x, y)
        else:
            self._scaled_after(x, y)
        return y if bias is None else np.add(y, bias, out=y)

    def _numbers(self) -> Iterator[tuple[GroupTile, Floats]]:
        for tile in self.tiles:
            rows = self.scratch.rows(tile.codes.shape[0] * tile.codes.shape[1], tile.codes.shape[2])
            numbers = rows.reshape(tile.codes.shape)
            np.copyto(numbers, tile.codes, casting="unsafe")
            yield tile, numbers

    def _scaled_first(self, x: Floats, y: Floats) -> None:  # f32[t, k], f32[t, n]
        for tile, numbers in self._numbers():
            np.multiply(numbers, tile.scale, out=numbers)
            if tile.minimum is not None:
                np.add(numbers, tile.minimum, out=numbers)
            columns = numbers.reshape(self.shape[1], -1)
            y[:, tile.start : tile.stop] = primitives().row_products(x, columns.T)

    def _scaled_after(self, x: Floats, y: Floats) -> None:  # f32[t, k], f32[t, n]
        groups = self.tiles[0].codes.shape[0]
        by_group = np.ascontiguousarray(x.reshape(len(x), groups, -1).swapaxes(0, 1))  # [g, t, s]
        totals: Floats | None = None
        for tile, numbers in self._numbers():
            sums = np.matmul(by_group, numbers)  # [g, t, n]
            sums *= tile.scale
            part = y[:, tile.start : tile.stop]
            np.add.reduce(sums, axis=0, out=part)
            if tile.minimum is not None:
                totals = np.add.reduce(by_group, axis=2).T if totals is None else totals  # [t, g]
                part += totals @ tile.minimum[:, 0]


def grouped(parts: Sequence[QuantizedTensor], scratch: Scratch) -> GroupedMatrix | None:
    """Matrices with the same inputs, stacked; None where they are no bytes times a group's scale.

    It is None, too, where their groups differ, or where only some of them have minima.
    """
    found = [factors_of(part) for part in parts]
    held = [(one, None if one is None else _bytes(one)) for one in found]
    factors = [one for one, codes in held if one is not None and codes is not None]
    if len(factors) < len(parts) or len({(one.group, one.minimum is None) for one in factors}) > 1:
        return None
    codes = np.concatenate([one for _, one in held if one is not None])
    minima = [one.minimum for one in factors if one.minimum is not None]
    scale = np.concatenate([one.scale for one in factors])
    tiles = _tiles(codes, scale, np.concatenate(minima) if minima else None, scratch)
    return GroupedMatrix((codes.shape[0], codes.shape[1]), tiles, scratch)


def _tiles(
    codes: NDArray[np.integer], scale: Floats, minimum: Floats | None, scratch: Scratch
) -> tuple[GroupTile, ...]:
    outputs, inputs = codes.shape
    step = min(max(TILE_WEIGHTS // inputs, 16), outputs)
    scratch.reserve(step * inputs)
    tiles = []
    for start in range(0, outputs, step):
        part = slice(start, min(start + step, outputs))
        by_group = codes[part].reshape(-1, scale.shape[1], inputs // scale.shape[1])
        tiles.append(
            GroupTile(
                part.start,
                part.stop,
                np.ascontiguousarray(by_group.transpose(1, 2, 0)),
                np.ascontiguousarray(scale[part].T)[:, np.newaxis],
                None if minimum is None else np.ascontiguousarray(minimum[part].T)[:, np.newaxis],
            )
        )
    return tuple(tiles)


def _bytes(found: Factors) -> NDArray[np.integer] | None:
    codes = found.centred()
    if codes is None or codes.dtype.itemsize == 1:
        return codes
    return codes.astype(np.int8) if codes.min() >= -128 and codes.max() <= 127 else None
