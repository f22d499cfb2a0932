"""One `linear(x, w)` for weights that are numbers and for weights that stay packed.

A packed matrix is decoded a tile of rows at a time into one float32 buffer that every matrix of a
model shares: the tile is still in the cache when BLAS reads it, and the model never needs more
memory than its file plus that buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from refquant.layout.tiles import row_unit
from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor

__all__ = [
    "DenseMatrix",
    "Matrix",
    "PackedMatrix",
    "Product",
    "Scratch",
    "StackedMatrix",
    "Tiled",
    "dense",
    "linear",
    "pack_rows",
    "takes_bias",
    "tiled",
]

# Tiles of 0.2 to 0.8 million elements measure alike; smaller ones pay for calls, larger ones fall
# out of the second-level cache.
TILE_ELEMENTS: Final = 1 << 18

# Weights of a tile that is numbers already; it only has to be worth a call.
DENSE_TILE: Final = 1 << 19


class Scratch:
    """One float32 buffer for all matrices of a model, as large as the largest tile needs."""

    def __init__(self) -> None:
        self.size = TILE_ELEMENTS
        self._buffer: Floats | None = None
        self._bytes: NDArray[np.uint8] | None = None
        self._arrays: dict[tuple[int, ...], Floats] = {}

    def reserve(self, elements: int) -> None:
        """See to it that a tile of so many elements will fit."""
        if elements > self.size:
            self.size, self._buffer = elements, None
            self._arrays.clear()

    def rows(self, count: int, columns: int) -> Floats:
        """The first part of the buffer as f32[count, columns]; the next call overwrites it."""
        return self.array((count, columns))

    def array(self, shape: tuple[int, ...]) -> Floats:
        """The same in any shape."""
        found = self._arrays.get(shape)
        if found is None:
            if self._buffer is None:
                self._buffer = np.empty(self.size, np.float32)
            found = self._arrays[shape] = self._buffer[: prod(shape)].reshape(shape)
        return found

    def codes(self, like: NDArray[np.integer]) -> NDArray[np.integer]:
        """An array of bytes of this shape and type; the next call overwrites it."""
        if self._bytes is None or self._bytes.size < like.size:
            self._bytes = np.empty(like.size, np.uint8)
        return self._bytes[: like.size].view(like.dtype).reshape(like.shape)


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

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first output of each tile, and the end."""
        return (*(tile.start for tile in self.tiles), self.shape[0])

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Decode tiles `first` to `last` and write their outputs."""
        for tile in self.tiles[first:last]:
            rows = self.scratch.rows(tile.stop - tile.start, self.shape[1])
            tile.rows.dequantize(out=rows, threads=1)
            base = self.tiles[first].start
            row_products(x, rows, y[:, tile.start - base : tile.stop - base])

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        return whole_product(self, x, bias)


class Product(Protocol):
    """A matrix that knows how it is multiplied, such as one of integers (`coded.py`)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""


class Tiled(Product, Protocol):
    """A matrix whose outputs fall into tiles; each is computed as if there were no others.

    So whoever computes which tiles, and in what order, the outputs are the same bits. The columns
    of the array that `fill` writes are the outputs of the tiles that it is asked for.
    """

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first output of each tile, and the end."""

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write the outputs of tiles `first` to `last`."""


def row_products(x: Floats, rows: Floats, out: Floats) -> None:  # f32[t, k], f32[n, k], f32[t, n]
    """Write the products of rows with rows, in the arithmetic in force.

    Where the products of a token may not depend on its neighbours, each row of x goes alone.
    """
    multiply = primitives().row_products
    step = 1 if primitives().each_row_alone else max(len(x), 1)
    for row in range(0, len(x), step):
        multiply(x[row : row + step], rows, out[row : row + step])


def whole_product(
    matrix: Tiled, x: Floats, bias: Floats | None
) -> Floats:  # tiled, f32[t, k], f32[n]? -> f32[t, n]
    """All tiles' outputs, and the bias added."""
    y = np.empty((len(x), matrix.shape[0]), np.float32)
    matrix.fill(x, y, 0, len(matrix.bounds) - 1)
    return y if bias is None else np.add(y, bias, out=y)


@dataclass(frozen=True, slots=True, eq=False)
class DenseMatrix:
    """Numbers f32[n, k], cut into tiles of rows."""

    rows: Floats
    bounds: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.rows.shape[0], self.rows.shape[1]

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write the outputs of tiles `first` to `last`."""
        base = self.bounds[first]
        for start, stop in pairwise(self.bounds[first : last + 1]):
            row_products(x, self.rows[start:stop], y[:, start - base : stop - base])

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        return whole_product(self, x, bias)


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
    if not isinstance(w, np.ndarray):
        return w.product(x, bias)
    y = np.empty((len(x), len(w)), np.float32)
    row_products(x, w, y)
    return y if bias is None else np.add(y, bias, out=y)


def tiled(w: Matrix) -> Tiled:
    """The same matrix in tiles whose boundaries depend on nothing but the matrix."""
    if isinstance(w, np.ndarray):
        return dense(w)
    if isinstance(w, StackedMatrix):
        return StackedTiles(w.shape, tuple(tiled(part) for part in w.parts))
    return cast("Tiled", w) if hasattr(w, "fill") else SingleTile(w)


def dense(rows: Floats) -> DenseMatrix:  # f32[n, k] -> tiled
    """Numbers cut into tiles of about 2 MB."""
    return DenseMatrix(rows, tile_bounds(rows.shape[0], rows.shape[1], DENSE_TILE))


def tile_bounds(outputs: int, inputs: int, weights: int) -> tuple[int, ...]:
    """Where tiles of at most so many weights begin, and the end.

    The second half of the outputs is cut as the first is, so that two processes have equal work
    and so that gate and up, stacked, have tiles of the same columns. Each but the last of a half
    holds a multiple of 16 outputs, as many as fill the registers of today's processors.
    """
    half = -(-outputs // 32) * 16
    count = max(-(-half * inputs // weights), 1)
    step = -(-half // (16 * count)) * 16
    starts = range(0, half, step)
    again = (half + start for start in starts if half + start < outputs)
    return (*starts, *again, outputs)


def takes_bias(w: Tiled) -> bool:
    """Whether a bias goes into the products themselves, as contracts have it, not on top."""
    if isinstance(w, StackedTiles):
        return any(takes_bias(part) for part in w.parts)
    return isinstance(w, SingleTile)


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
