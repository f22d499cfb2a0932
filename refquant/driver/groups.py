"""Weights in the groups that an encoder sees together, and their codes back in place."""

from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["grouped", "ungrouped"]

F32 = NDArray[np.float32]


def grouped(x: F32, sizes: tuple[int, ...]) -> F32:  # f32[*shape] -> f32[g, n]
    """The weights as one row for each group, ragged edges filled with zeros."""
    counts = tuple(-(-n // size) for n, size in zip(x.shape, sizes, strict=True))
    padded = tuple(c * s for c, s in zip(counts, sizes, strict=True))
    if padded != x.shape:
        filled = np.zeros(padded, np.float32)
        filled[tuple(slice(n) for n in x.shape)] = x
        x = filled
    rank = x.ndim
    cut = x.reshape([n for pair in zip(counts, sizes, strict=True) for n in pair])
    turned = cut.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    return np.ascontiguousarray(turned.reshape(prod(counts), prod(sizes)))


def ungrouped(
    codes: NDArray[np.integer],
    sizes: tuple[int, ...],
    overs: tuple[int, ...],
    shape: tuple[int, ...],
) -> NDArray[np.integer]:  # code[g, n / over] -> code[*ceil(shape / over)]
    """The codes of all groups in the tensor's own order, ragged edges cut off."""
    counts = tuple(-(-n // size) for n, size in zip(shape, sizes, strict=True))
    inner = tuple(-(-size // over) for size, over in zip(sizes, overs, strict=True))
    joined = [c * i for c, i in zip(counts, inner, strict=True)]
    if sizes[:-1] == (1,) * (len(sizes) - 1):
        whole = codes.reshape(joined)
    else:
        pairs = tuple(axis for a in range(len(shape)) for axis in (a, len(shape) + a))
        whole = codes.reshape(*counts, *inner).transpose(pairs).reshape(joined)
    return whole[tuple(slice(-(-n // over)) for n, over in zip(shape, overs, strict=True))]
