"""Blocks as columns, and the weights of errors that ggml derives from an importance matrix."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["columns", "importance_weights"]

F32 = NDArray[np.float32]

TILE = 256
"""Runs transposed at once: what is read then stays in the first-level cache."""


def columns(x: F32, size: int) -> F32:  # f32[...] -> f32[size, count]
    """Runs of `size` weights as columns, so that a step over all runs is one contiguous row."""
    runs = x.reshape(-1, size)
    turned = np.empty((size, len(runs)), np.float32)
    for start in range(0, len(runs), TILE):
        turned[:, start : start + TILE] = runs[start : start + TILE].T
    return turned


def importance_weights(
    x: F32, importance: F32, factor: int = 1
) -> F32:  # f32[b, n], f32[...] -> f32[b, n]
    """`importance * sqrt(factor * mean(x * x) + x * x)`, the mean taken over each row of `x`.

    The sum behind the mean runs from the first weight to the last, rounded after every addition.
    """
    square = x * x
    energy = np.add.accumulate(square, axis=1)[:, -1:]
    mean = np.float32(factor) * energy / np.float32(x.shape[1])
    weights: F32 = importance * np.sqrt(mean + square)
    return weights
