"""Exact integer products at the speed of binary32 matrix multiplication.

A binary32 sum of integers is exact, in any order and with or without FMA, while no partial sum
exceeds 2**24 in magnitude. Small codes allow hundreds to thousands of terms before that, so the
inner axis is cut into pieces of that length; each piece of a tile of outputs is one BLAS call, and
the pieces are added as int32. BLAS here computes integers, not approximations.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError

__all__ = ["block_sums", "exact_terms", "integer_matmul", "saturating_cast"]

EXACT_INTEGERS = 1 << 24
"""Every integer up to this magnitude is a binary32 number."""

INT32_MAX = (1 << 31) - 1

TILE = 512
"""Outputs computed together: 2 MB of weights as binary32, which a cache holds while BLAS reads."""

KEPT = 1 << 20
"""Largest scratch, in numbers, that a thread keeps: 4 MB."""

_PER_THREAD = threading.local()


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
        raise _shapes(left, right)
    return _by_tiles(left, right, max(min(_terms(left, right), left.shape[1]), 1))


def block_sums(
    left: NDArray[np.integer], right: NDArray[np.integer], block: int
) -> NDArray[np.int32]:  # int[m, k], int[n, k] -> i32[k / block, m, n]
    """The int32 sums of every block of `block` terms on its own, exact.

    Raises `SchemeError` where shapes do not agree, k is no multiple of `block`, or a block's sum of
    magnitudes exceeds 2**24.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise _shapes(left, right)
    inner = left.shape[1]
    if block < 1 or inner % block:
        raise SchemeError(f"{inner} terms in blocks of {block}: expected a multiple")
    if exact_terms(_largest(left), _largest(right)) < block:
        raise SchemeError(f"a block of {block} products of such codes can exceed 2**24")
    wide = left.astype(np.float32).reshape(len(left), -1, block).transpose(1, 0, 2)
    other = right.astype(np.float32).reshape(len(right), -1, block).transpose(1, 2, 0)
    sums: NDArray[np.int32] = np.matmul(wide, other).astype(np.int32)
    return sums


def _shapes(left: NDArray[np.integer], right: NDArray[np.integer]) -> SchemeError:
    return SchemeError(
        f"integer product of {list(left.shape)} and {list(right.shape)}: expected [m, k] and [n, k]"
    )


def _terms(left: NDArray[np.integer], right: NDArray[np.integer]) -> int:
    """Terms a piece may have; raises where a whole sum could leave int32.

    The bound of the types is tried first: it costs nothing. Only where it does not allow the whole
    sum at once are the codes themselves looked at.
    """
    inner = left.shape[1]
    bounds = _largest_of(left.dtype), _largest_of(right.dtype)
    if exact_terms(*bounds) < inner:
        bounds = _largest(left), _largest(right)
    terms = exact_terms(*bounds)
    if bounds[0] * bounds[1] * inner > INT32_MAX:
        raise SchemeError(
            f"{inner} products of {bounds[0]} x {bounds[1]} can leave an int32 accumulator"
        )
    if terms == 0:
        raise SchemeError(
            f"codes of magnitude {bounds[0]} x {bounds[1]} have no exact product here"
        )
    return terms


def _largest_of(dtype: np.dtype[np.integer]) -> int:
    limits = np.iinfo(dtype)
    return max(-int(limits.min), int(limits.max))


def _largest(codes: NDArray[np.integer]) -> int:
    """The largest magnitude present, by Python's integers so that the smallest code cannot wrap."""
    if not codes.size:
        return 0
    return max(-int(np.minimum.reduce(codes, axis=None)), int(np.maximum.reduce(codes, axis=None)))


def _by_tiles(
    left: NDArray[np.integer], right: NDArray[np.integer], terms: int
) -> NDArray[np.int32]:
    """Exact pieces of `terms` terms, for `TILE` outputs at a time in buffers that are reused."""
    inner, outputs = right.shape[1], len(right)
    scratch = _scratch(left.size + min(TILE, outputs) * (terms + 16 + len(left)))
    wide = scratch[: left.size].reshape(left.shape)
    np.copyto(wide, left, casting="unsafe")
    total = np.zeros((len(left), outputs), np.int32)
    # Rows a power of two apart would fall into the same few lines of a cache.
    after = left.size + min(TILE, outputs) * (terms + 16)
    weights = scratch[left.size : after].reshape(-1, terms + 16)
    piece = scratch[after:].reshape(len(left), len(weights))
    for row in range(0, outputs, TILE):
        tile = total[:, row : row + TILE]
        sums = piece[:, : tile.shape[1]]
        for start in range(0, inner, terms):
            end = min(start + terms, inner)
            held = weights[: tile.shape[1], : end - start]
            np.copyto(held, right[row : row + TILE, start:end], casting="unsafe")
            np.matmul(wide[:, start:end], held.T, out=sums)
            np.add(tile, sums, out=tile, casting="unsafe", dtype=np.int32)
    return total


def _scratch(size: int) -> NDArray[np.float32]:
    """Numbers to overwrite, kept by each thread: fresh pages cost a tenth of a product's time."""
    if size > KEPT:
        return np.empty(size, np.float32)
    held: NDArray[np.float32] | None = getattr(_PER_THREAD, "numbers", None)
    if held is None or held.size < size:
        held = np.empty(size, np.float32)
        _PER_THREAD.numbers = held
    return held[:size]


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
