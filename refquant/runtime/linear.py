"""One `linear(x, w)` for matrices that are numbers and for those that know how to multiply.

The latter are numbers in tiles (`dense.py`), packed tiles (`packed.py`), codes by group
(`grouped.py`), integers under a contract (`coded.py`), and several of these stacked (`stacked.py`).
"""

from typing import Protocol

import numpy as np

from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.ops import Floats

__all__ = ["Matrix", "Product", "Tiled", "linear", "row_products", "whole_product"]


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


Matrix = Floats | Product


def linear(
    x: Floats, w: Matrix, bias: Floats | None = None
) -> Floats:  # f32[t, k], f32[n, k], f32[n]? -> f32[t, n]
    """The products of every row of x with every row of w, and the bias added."""
    if not isinstance(w, np.ndarray):
        return w.product(x, bias)
    y = np.empty((len(x), len(w)), np.float32)
    row_products(x, w, y)
    return y if bias is None else np.add(y, bias, out=y)


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
