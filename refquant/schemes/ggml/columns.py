"""Blocks as columns: what makes every step over a block one operation on contiguous rows."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["columns"]

F32 = NDArray[np.float32]


def columns(x: F32, size: int) -> F32:  # f32[...] -> f32[size, count]
    """Runs of `size` weights as columns."""
    return np.ascontiguousarray(x.reshape(-1, size).T)
