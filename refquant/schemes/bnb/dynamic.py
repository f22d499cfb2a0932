"""bitsandbytes' dynamic 8-bit table, and the nearest entry of any of its tables."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["DYNAMIC", "LEAST", "dynamic_map", "nearest_entries"]

F32 = NDArray[np.float32]

LEAST = np.float32(1e-38)
"""A smaller absmax is replaced by it in the quotient, not where it is stored."""


def dynamic_map() -> F32:  # -> f32[256]
    """The signed dynamic table: 2**i fractions in the decade below `10**(i - 6)`, 0.0 and 1.0.

    A fraction is the middle between neighbours of a division of 0.1..1.0 that is computed inwards
    from both ends, each point rounded once, as `torch.linspace` does with fused operations.
    """
    first, last = np.float32(0.1), np.float32(1)
    positive = []
    for i in range(7):
        count = 1 << i
        step = np.float64((last - first) / np.float32(count))
        k = np.arange(count + 1)
        points = np.where(
            k < (count + 1) // 2,
            np.float64(first) + step * k,
            np.float64(last) - step * (count - k),
        ).astype(np.float32)
        middles = (points[:-1] + points[1:]) / np.float32(2)
        positive.append(np.float32(10.0 ** (i - 6)) * middles)  # exact: a constant, rounded once
    magnitudes = np.concatenate(positive)
    return np.sort(np.concatenate([-magnitudes, magnitudes, np.array([0, 1], np.float32)]))


DYNAMIC = dynamic_map()


def nearest_entries(scaled: F32, table: F32) -> NDArray[np.uint8]:  # f32[...] -> u8[...]
    """Codes of the entries nearest to numbers held to -1..1, the lower of two equally near."""
    order = np.argsort(table, kind="stable").astype(np.uint8)
    entries = table[order]
    middles = (entries[:-1] + entries[1:]) / np.float32(2)
    held = np.clip(scaled, np.float32(-1), np.float32(1))
    found: NDArray[np.uint8] = order[np.searchsorted(middles, held)]
    return found
