"""Matrices that stay packed and are decoded a tile of rows at a time.

A tile is decoded into one float32 buffer that every matrix of a model shares: it is still in the
cache when BLAS reads it, and the model never needs more memory than its file plus that buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from refquant.layout.tiles import row_unit
from refquant.runtime.linear import row_products, whole_product
from refquant.runtime.ops import Floats
from refquant.runtime.scratch import TILE_ELEMENTS, Scratch
from refquant.tensor import QuantizedTensor

__all__ = ["PackedMatrix", "Tile", "pack_rows"]


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
