"""Matrices with the same inputs as one, and the tiles of any matrix."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from refquant.runtime.dense import dense
from refquant.runtime.linear import Matrix, Product, Tiled, linear, whole_product
from refquant.runtime.ops import Floats

__all__ = ["SingleTile", "StackedMatrix", "StackedTiles", "takes_bias", "tiled"]


@dataclass(frozen=True, slots=True, eq=False)
class StackedMatrix:
    """Matrices with the same inputs, each multiplied in its own way."""

    shape: tuple[int, int]
    parts: tuple[Matrix, ...]

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The parts' products, side by side."""
        y = np.empty((len(x), self.shape[0]), np.float32)
        start = 0
        for part in self.parts:
            stop = start + part.shape[0]
            y[:, start:stop] = linear(x, part, None if bias is None else bias[start:stop])
            start = stop
        return y


@dataclass(frozen=True, slots=True, eq=False)
class SingleTile:
    """A matrix that is multiplied in one piece."""

    matrix: Product

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.matrix.shape

    @property
    def bounds(self) -> tuple[int, ...]:
        """The one tile is everything."""
        return (0, self.matrix.shape[0])

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write all outputs, if tile 0 is asked for."""
        if first == 0 < last:
            y[:] = self.matrix.product(x, None)

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        return self.matrix.product(x, bias)


@dataclass(frozen=True, slots=True, eq=False)
class StackedTiles:
    """The tiles of matrices with the same inputs, one matrix after the other."""

    shape: tuple[int, int]
    parts: tuple[Tiled, ...]

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first output of each tile, and the end."""
        found = [0]
        for part in self.parts:
            found += [found[-1] + bound - part.bounds[0] for bound in part.bounds[1:]]
        return tuple(found)

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write the outputs of tiles `first` to `last`."""
        start = 0
        for part in self.parts:
            tiles = len(part.bounds) - 1
            begin, end = max(first, 0), min(last, tiles)
            if begin < end:
                stop = start + part.bounds[end] - part.bounds[begin]
                part.fill(x, y[:, start:stop], begin, end)
                start = stop
            first, last = first - tiles, last - tiles

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        if takes_bias(self):
            return StackedMatrix(self.shape, self.parts).product(x, bias)
        return whole_product(self, x, bias)


def tiled(w: Matrix) -> Tiled:
    """The same matrix in tiles whose boundaries depend on nothing but the matrix."""
    if isinstance(w, np.ndarray):
        return dense(w)
    if isinstance(w, StackedMatrix):
        return StackedTiles(w.shape, tuple(tiled(part) for part in w.parts))
    return cast("Tiled", w) if hasattr(w, "fill") else SingleTile(w)


def takes_bias(w: Tiled) -> bool:
    """Whether a bias goes into the products themselves, as contracts have it, not on top."""
    if isinstance(w, StackedTiles):
        return any(takes_bias(part) for part in w.parts)
    return isinstance(w, SingleTile)
