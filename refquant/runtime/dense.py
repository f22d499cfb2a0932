"""Matrices held as numbers, in tiles of rows that several processes can share."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from refquant.runtime.linear import row_products, whole_product
from refquant.runtime.ops import Floats
from refquant.runtime.tile_bounds import tile_bounds

__all__ = ["DenseMatrix", "dense"]

# Weights of a tile that is numbers already; it only has to be worth a call.
DENSE_TILE: Final = 1 << 19


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


def dense(rows: Floats) -> DenseMatrix:  # f32[n, k] -> tiled
    """Numbers cut into tiles of about 2 MB."""
    return DenseMatrix(rows, tile_bounds(rows.shape[0], rows.shape[1], DENSE_TILE))
