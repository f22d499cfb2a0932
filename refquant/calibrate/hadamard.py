"""Hadamard rotation: slices of each row times an orthogonal matrix of equal magnitudes.

A product x @ w.T stays what it is when the rows of x and of w are rotated by the same orthogonal
matrix, while an outlier of w is spread over its whole slice, so that the scale fits the other
weights better. The matrix is Sylvester's: H(1) = [1], H(2n) = [[H, H], [H, -H]], over sqrt(n). It
is symmetric and its own inverse, so `rotated` also turns back, and activations are rotated by the
same function.

Source: google-ai-edge/ai-edge-quantizer 0.10.0, algorithms/uniform_quantize/hadamard_rotation.py
(HADAMARD_ROTATION rotates weights so and quantizes them with OCTAV). The origin multiplies with
the machine's BLAS; here sums are folded in binary64 by butterflies and rounded once.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError

__all__ = ["hadamard_matrix", "hadamard_size", "rotated"]

F32 = NDArray[np.float32]

LARGEST_SIZE = 1 << 30


def hadamard_size(columns: int, limit: int = 0) -> int:
    """Weights of a slice: the largest power of two that divides `columns`, not above `limit`.

    A `limit` of 0 sets none. Odd rows have slices of one weight, which no rotation changes; the
    origin fails on them.
    """
    if columns < 1 or limit < 0:
        raise UsageError(f"no slice fits {columns} columns with a limit of {limit}")
    size = gcd(columns, LARGEST_SIZE)
    return min(size, 1 << (limit.bit_length() - 1)) if limit else size


def _magnitude(size: int) -> np.float32:
    """1 / sqrt(size), root and quotient each rounded to binary32."""
    return np.float32(np.float32(1) / np.sqrt(np.float32(size)))


def hadamard_matrix(size: int) -> F32:  # -> f32[size, size]
    """Sylvester's matrix over sqrt(size); `UsageError` where `size` is no power of two."""
    if size < 1 or size & (size - 1):
        raise UsageError(f"a Hadamard matrix of size {size} is asked for; sizes are powers of two")
    signs = np.ones((1, 1), np.float32)
    while len(signs) < size:
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs * _magnitude(size)


def rotated(x: F32, limit: int = 0) -> F32:  # f32[..., n] -> f32[..., n]
    """`x` with each slice of its last axis multiplied by the matrix of `hadamard_size`.

    Slices are folded in binary64: in the first butterfly each even column and the odd one after it
    become their sum and difference, in the next one columns two apart, and so on. The last sums
    times 1 / sqrt(size) are rounded to binary32.
    """
    size = hadamard_size(x.shape[-1], limit)
    if size == 1:
        return x.copy()
    folded = x.astype(np.float64).reshape(-1, size)
    near = 1
    while near < size:
        pairs = folded.reshape(len(folded), -1, 2, near)
        left, right = pairs[:, :, 0], pairs[:, :, 1]
        folded = np.stack([left + right, left - right], axis=2).reshape(len(folded), size)
        near *= 2
    return (folded * np.float64(_magnitude(size))).astype(np.float32).reshape(x.shape)
