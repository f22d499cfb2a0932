"""The fused multiply-add of binary32, which NumPy has no name for."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fused_multiply_add"]

F32 = NDArray[np.float32]


def fused_multiply_add(a: F32, b: F32, c: F32) -> F32:  # f32[...], f32[...], f32[...] -> f32[...]
    """`a * b + c` of finite numbers, rounded once, as a processor's FMA instruction computes it.

    The product of two binary32 numbers is exact in binary64. Their sum with `c` is rounded there to
    odd: where it is inexact its last bit is set, so that rounding it again to binary32 cannot meet
    a tie that was none.
    """
    product = np.asarray(a, np.float64) * b
    wide = np.asarray(c, np.float64)
    total = np.asarray(product + wide)
    back = total - product
    lost = (product - (total - back)) + (wide - back)
    even = (total.view(np.int64) & 1) == 0
    toward = np.where(lost > 0, np.inf, -np.inf)
    odd = np.where((lost != 0) & even, np.nextafter(total, toward), total)
    fused: F32 = odd.astype(np.float32)
    return fused
