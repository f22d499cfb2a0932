"""One `linear(x, w)` for weights that are numbers and for weights that stay packed.

A packed matrix is decoded a tile of rows at a time into one float32 buffer that every matrix of a
model shares: the tile is still in the cache when BLAS reads it, and the model never needs more
memory than its file plus that buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from refquant.layout.tiles import row_unit
from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor

__all__ = ["Matrix", "PackedMatrix", "Product", "Scratch", "StackedMatrix", "linear", "pack_rows"]

# Tiles of 0.2 to 0.8 million elements measure alike; smaller ones pay for calls, larger ones fall
# out of the second-level cache.
TILE_ELEMENTS: Final = 1 << 18


class Scratch:
    """One float32 buffer for all matrices of a model, as large as the largest tile needs."""

    def __init__(self) -> None:
        self.size = TILE_ELEMENTS
        self._buffer: Floats | None = None

    def reserve(self, elements: int) -> None:
        """See to it that a tile of so many elements will fit."""
        if elements > self.size:
            self.size, self._buffer = elements, None

    def rows(self, count: int, columns: int) -> Floats:
        """The first part of the buffer as f32[count, columns]; the next call overwrites it."""
        if self._buffer is None:
            self._buffer = np.empty(self.size, np.float32)
        return self._buffer[: count * columns].reshape(count, columns)


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows `start` to `stop` of a packed matrix."""

    start: int
    stop: int
    rows: QuantizedTensor


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix [outputs, inputs] as tiles of quantized rows, and the buffer they decode into."""

    shape: tuple[int, int]
    tiles: tuple[Tile, ...]
    scratch: Scratch


class Product(Protocol):
    """A matrix that knows how it is multiplied, such as one of integers (`coded.py`)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""


@dataclass(frozen=True, slots=True, eq=False)
class StackedMatrix:
    """Matrices with the same inputs, each multiplied in its own way."""

    shape: tuple[int, int]
    parts: tuple["Matrix", ...]

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The parts' products, side by side."""
        y = np.empty((len(x), self.shape[0]), np.float32)
        start = 0
        for part in self.parts:
            stop = start + part.shape[0]
            y[:, start:stop] = linear(x, part, None if bias is None else bias[start:stop])
            start = stop
        return y


Matrix = Floats | PackedMatrix | Product


def linear(
    x: Floats, w: Matrix, bias: Floats | None = None
) -> Floats:  # f32[t, k], f32[n, k], f32[n]? -> f32[t, n]
    """The products of every row of x with every row of w, and the bias added."""
    if isinstance(w, PackedMatrix):
        y = _linear_packed(x, w)
    elif isinstance(w, np.ndarray):
        y = primitives().row_products(x, w)
    else:
        return w.product(x, bias)
    return y if bias is None else np.add(y, bias, out=y)


def _linear_packed(x: Floats, w: PackedMatrix) -> Floats:  # f32[t, k], packed[n, k] -> f32[t, n]
    y = np.empty((x.shape[0], w.shape[0]), np.float32)
    for tile in w.tiles:
        rows = w.scratch.rows(tile.stop - tile.start, w.shape[1])
        tile.rows.dequantize(out=rows, threads=1)
        y[:, tile.start : tile.stop] = primitives().row_products(x, rows)
    return y


def pack_rows(parts: Sequence[QuantizedTensor], scratch: Scratch) -> PackedMatrix:
    """Matrices with the same inputs, stacked into one and cut into tiles.

    A tile begins where every plane begins a record, so a scheme whose records hold several rows
    has taller ones.
    """
    columns = parts[0].shape[1]
    tiles: list[Tile] = []
    base = 0
    for part in parts:
        height = part.shape[0]
        unit = row_unit(part.layout, part.shape)
        step = max(TILE_ELEMENTS // columns // unit, 1) * unit
        scratch.reserve(min(step, height) * columns)
        for start in range(0, height, step):
            stop = min(start + step, height)
            tiles.append(Tile(base + start, base + stop, part.rows(start, stop)))
        base += height
    return PackedMatrix((base, columns), tuple(tiles), scratch)
