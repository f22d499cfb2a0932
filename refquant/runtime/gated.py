"""Gate and up with what bends them, as one step that processes can share.

A tile of the gated vector needs the tiles of gate and up in the same columns and no other. Whoever
has computed these two bends and multiplies them while they are in its cache, and hands on half as
many numbers.
"""

from dataclasses import dataclass

import numpy as np

from refquant.runtime.linear import Tiled, whole_product
from refquant.runtime.ops import GATES, Floats
from refquant.runtime.stacked import takes_bias

__all__ = ["GatedTiles", "gated_tiles"]


@dataclass(frozen=True, slots=True, eq=False)
class GatedTiles:
    """The gated vectors [outputs / 2, inputs] of a matrix that holds gate and up, stacked."""

    matrix: Tiled
    activation: str
    bounds: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Gated outputs, and inputs."""
        return self.bounds[-1], self.matrix.shape[1]

    def fill(self, x: Floats, y: Floats, first: int, last: int) -> None:  # f32[t, k], f32[t, n]
        """Write the outputs of tiles `first` to `last`."""
        tiles, base = len(self.bounds) - 1, self.bounds[first]
        for tile in range(first, last):
            start, stop = self.bounds[tile : tile + 2]
            gate, up = np.empty((2, len(x), stop - start), np.float32)
            self.matrix.fill(x, gate, tile, tile + 1)
            self.matrix.fill(x, up, tiles + tile, tiles + tile + 1)
            y[:, start - base : stop - base] = GATES[self.activation](gate, up)

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The gated vectors of every row of x, and the bias added."""
        return whole_product(self, x, bias)


def gated_tiles(matrix: Tiled, activation: str) -> GatedTiles | None:
    """The same as one step, or None unless gate and up have tiles of the same columns."""
    bounds, half = matrix.bounds, matrix.shape[0] // 2
    tiles = (len(bounds) - 1) // 2
    first, second = bounds[: tiles + 1], bounds[tiles:]
    if takes_bias(matrix) or second != tuple(half + bound for bound in first):
        return None
    return GatedTiles(matrix, activation, first)
