"""Sums and products of matrices, correctly rounded: one rounding after the last addition.

A product of two binary32 numbers is exact in binary64, so only additions round there. In whatever
order n exact terms are added, the result is off by at most (n - 1) u / (1 - (n - 1) u) times the
sum of their magnitudes, u = 2**-53 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
edition, section 4.2). For a product of rows that sum is at most the product of their lengths
(Cauchy and Schwarz), which costs one number a row instead of a second product of matrices.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.correctly_rounded.nearest import nearest_binary32, settle

__all__ = ["matmul", "row_norms", "sum_of_squares", "sum_rows"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

UNIT = 2.0**-53
TILE = 1 << 18
"""Weights that are widened at a time: 2 MB of binary64, which a cache holds."""


def matmul(
    x: F32, w: F32, norms: F64 | None = None
) -> F32:  # f32[..., m, k], f32[..., n, k], f64[..., n] -> f32[..., m, n]
    """The binary32 numbers nearest to the real products of every row of x with every row of w.

    A result of zero is +0. `norms` are `row_norms(w)`, if they are at hand. Infinities and NaN go
    where IEEE 754 puts them.
    """
    wide = x.astype(np.float64)
    y = np.empty((*x.shape[:-1], w.shape[-2]), np.float32)
    factor = _factor(x.shape[-1])
    lengths = (row_norms(x) * factor)[..., np.newaxis]
    step = max(TILE // max(math.prod(w.shape[:-2]) * w.shape[-1], 1), 1)
    for start in range(0, w.shape[-2], step):
        part = slice(start, start + step)
        rows = w[..., part, :]
        held = rows.astype(np.float64)
        norm = _lengths(held) if norms is None else norms[..., part]
        with np.errstate(invalid="ignore", over="ignore"):
            estimate = np.matmul(wide, np.swapaxes(held, -1, -2))
            error = lengths * norm[..., np.newaxis, :]
        y[..., part] = settle(estimate, error, _decide_product(x, rows))
    y += np.float32(0.0)
    return y


def sum_rows(x: F32) -> F32:  # f32[..., n] -> f32[...]
    """The binary32 numbers nearest to the real sums over the last axis; a zero is +0."""
    wide = x.astype(np.float64)
    return _sums(wide, np.add.reduce(np.abs(wide), axis=-1))


def sum_of_squares(x: F32) -> F32:  # f32[..., n] -> f32[...]
    """The binary32 numbers nearest to the real sums of squares over the last axis."""
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        wide *= wide
    return _sums(wide, np.add.reduce(wide, axis=-1))


def row_norms(x: F32) -> F64:  # f32[..., n] -> f64[...]
    """Upper bounds of the Euclidean lengths of the rows, a hair above them."""
    return _lengths(x.astype(np.float64))


def _lengths(wide: F64) -> F64:  # f64[..., n] -> f64[...]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("...i,...i->...", wide, wide)
        # A sum of squares is off by a relative n u; the root halves that, and itself adds one u.
        lengths: F64 = np.sqrt(squares) * (1.0 + (wide.shape[-1] + 4) * UNIT)
    return lengths


def _factor(terms: int) -> float:
    """What the sum of magnitudes is multiplied by; three more roundings are in the bound's use."""
    return (terms + 3) * UNIT * 1.0001


def _sums(terms: F64, magnitudes: F64) -> F32:  # f64[..., n], f64[...] -> f32[...]
    estimate = np.asarray(np.add.reduce(terms, axis=-1))

    def decide(index: tuple[int, ...]) -> np.float32:
        return _exact_sum(terms[index])

    error = np.asarray(magnitudes * _factor(terms.shape[-1]))
    return settle(estimate, error, decide) + np.float32(0.0)


def _decide_product(x: F32, rows: F32) -> Callable[[tuple[int, ...]], np.float32]:
    def decide(index: tuple[int, ...]) -> np.float32:
        *batch, row, column = index
        left = x[(*batch, row)].astype(np.float64)
        return _exact_sum(left * rows[(*batch, column)].astype(np.float64))

    return decide


def _exact_sum(terms: F64) -> np.float32:  # f64[n] -> f32
    """The nearest binary32 number to a sum of binary64 numbers.

    `fsum` rounds once to binary64. A second rounding could err only half-way between two binary32
    numbers, where the sign of what the first one lost decides.
    """
    values = terms.tolist()
    nearest = math.fsum(values)
    with np.errstate(over="ignore"):
        rounded = np.float32(nearest)
    if np.isfinite(rounded):
        away = nearest - float(rounded)
        neighbour = np.nextafter(rounded, np.float32(math.copysign(math.inf, away)))
        if float(neighbour) - nearest != away:
            return rounded
    lost = math.fsum((*values, -nearest))
    return nearest_binary32(Fraction(nearest) + Fraction(lost))
