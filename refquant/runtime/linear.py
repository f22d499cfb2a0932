"""One `linear(x, w)` for weights that are numbers and for weights that stay packed.

A packed matrix is decoded a tile of rows at a time into one float32 buffer that every matrix of a
model shares: the tile is still in the cache when BLAS reads it, and the model never needs more
memory than its file plus that buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor

__all__ = ["Matrix", "PackedMatrix", "linear", "pack_rows", "scratch_for"]

# Tiles of 0.2 to 0.8 million elements measure alike; smaller ones pay for calls, larger ones fall
# out of the second-level cache.
TILE_ELEMENTS: Final = 1 << 18


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
    scratch: Floats


Matrix = Floats | PackedMatrix


def linear(x: Floats, w: Matrix) -> Floats:  # f32[t, k], f32[n, k] -> f32[t, n]
    """The products of every row of x with every row of w."""
    if isinstance(w, PackedMatrix):
        return _linear_packed(x, w)
    y: Floats = x @ w.T
    return y


def _linear_packed(x: Floats, w: PackedMatrix) -> Floats:  # f32[t, k], packed[n, k] -> f32[t, n]
    y = np.empty((x.shape[0], w.shape[0]), np.float32)
    columns = w.shape[1]
    for tile in w.tiles:
        rows = w.scratch[: (tile.stop - tile.start) * columns].reshape(-1, columns)
        tile.rows.dequantize(out=rows, threads=1)
        np.matmul(x, rows.T, out=y[:, tile.start : tile.stop])
    return y


def scratch_for(widths: Sequence[int]) -> Floats:
    """A buffer that holds one tile of any matrix whose rows have these widths."""
    return np.empty(max(TILE_ELEMENTS, *widths), np.float32)


def pack_rows(parts: Sequence[QuantizedTensor], scratch: NDArray[np.float32]) -> PackedMatrix:
    """Matrices with the same inputs, stacked into one and cut into tiles."""
    columns = parts[0].shape[1]
    step = max(1, scratch.size // columns)
    tiles: list[Tile] = []
    base = 0
    for part in parts:
        height = part.shape[0]
        for start in range(0, height, step):
            stop = min(start + step, height)
            tiles.append(Tile(base + start, base + stop, part.rows(start, stop)))
        base += height
    return PackedMatrix((base, columns), tuple(tiles), scratch)
