"""Exact integer products at the speed of binary32 matrix multiplication.

A binary32 sum of integers is exact, in any order and with or without FMA, while no partial sum
exceeds 2**24 in magnitude. Small codes allow hundreds to thousands of terms before that, so the
inner axis is cut into pieces of that length; each piece is one BLAS call, and the pieces are added
as int32. BLAS here computes integers, not approximations.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError

__all__ = ["exact_terms", "integer_matmul", "saturating_cast"]

EXACT_INTEGERS = 1 << 24
"""Every integer up to this magnitude is a binary32 number."""

INT32_MAX = (1 << 31) - 1


def exact_terms(largest_left: int, largest_right: int) -> int:
    """How many products of such magnitudes can be added with every partial sum exact."""
    product = max(largest_left * largest_right, 1)
    return EXACT_INTEGERS // product


def integer_matmul(
    left: NDArray[np.integer], right: NDArray[np.integer]
) -> NDArray[np.int32]:  # int[m, k], int[n, k] -> i32[m, n]
    """The int32 accumulators of `left @ right.T`, exact.

    Both operands hold codes of at most 12 bits in magnitude. Raises `SchemeError` where shapes do
    not agree, or where the sum of magnitudes could leave int32: an engine's accumulator would.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise SchemeError(
            f"integer product of {list(left.shape)} and {list(right.shape)}: "
            "expected [m, k] and [n, k]"
        )
    bounds = _largest(left), _largest(right)
    terms = exact_terms(*bounds)
    inner = left.shape[1]
    if bounds[0] * bounds[1] * inner > INT32_MAX:
        raise SchemeError(
            f"{inner} products of {bounds[0]} x {bounds[1]} can leave an int32 accumulator"
        )
    if terms == 0:
        raise SchemeError(
            f"codes of magnitude {bounds[0]} x {bounds[1]} have no exact product here"
        )
    total = _piece(left[:, :terms], right[:, :terms]).astype(np.int32)
    for start in range(terms, inner, terms):
        piece = _piece(left[:, start : start + terms], right[:, start : start + terms])
        total += piece.astype(np.int32)
    return total


def _largest(codes: NDArray[np.integer]) -> int:
    """The largest magnitude present, by int64 so that the smallest code does not wrap."""
    if not codes.size:
        return 0
    return max(-int(np.minimum.reduce(codes, axis=None)), int(np.maximum.reduce(codes, axis=None)))


def _piece(left: NDArray[np.integer], right: NDArray[np.integer]) -> NDArray[np.float32]:
    wide = right.astype(np.float32).T
    product: NDArray[np.float32] = np.matmul(
        left.astype(np.float32), wide
    )  # exact: integers < 2**24
    return product


def saturating_cast(x: NDArray[np.generic], dtype: type[np.integer]) -> NDArray[np.integer]:
    """Integers or floats as `dtype`: toward zero, beyond the range to its end, NaN to 0."""
    limits = np.iinfo(dtype)
    cast: NDArray[np.integer]
    if x.dtype.kind == "f":
        wide = x.astype(np.float64)
        cast = np.clip(np.where(np.isnan(wide), 0.0, wide), limits.min, limits.max).astype(dtype)
    else:
        cast = np.clip(x.astype(np.int64), limits.min, limits.max).astype(dtype)
    return cast
