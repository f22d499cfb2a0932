"""OCTAV: the clip that balances the squared errors of rounding and of clipping.

The error of rounding grows with the square of the clip c, that of clipping falls with it. Their
sum has its minimum where c = sum(|x| >= c) / ((1 - k) * count(|x| >= c) + k * n), k = 4**-bits / 3,
which Newton's method finds by putting the last c in on the right (Sakr and others, "Optimal
Clipping and Magnitude-aware Differentiation for Improved Quantization-aware Training", 2022,
equation 6).

Source: google-ai-edge/ai-edge-quantizer 0.10.0, algorithms/uniform_quantize/octav.py. The origin
adds in binary32 in whatever order NumPy has; here a sum is folded in binary64 and rounded once,
so clips differ from the origin's in their last bits and are the same on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.aeq.sums import folded_sum
from refquant.schemes.affine import Rule
from refquant.schemes.quads import extremes, magnitude_of

__all__ = ["clips", "next_clips", "scales", "settled"]

F32 = NDArray[np.float32]

ITERATIONS = 10
LEAST_EXTENT = np.float32(1e-9)
ABSOLUTE, RELATIVE = np.float32(1e-8), np.float32(1e-5)
"""When a clip counts as settled: the tolerances of numpy.allclose."""

SLICE_WEIGHTS = 1 << 18
"""Weights whose temporaries are held at once."""


def clips(x: F32, bits: int, *, one_group: bool = False) -> F32:  # f32[g, n] -> f32[g]
    """The clip of each group, after ten iterations from 1 or when all groups have settled.

    Groups wait for each other: the iteration ends for the tensor. With `one_group`, a scale for
    the whole tensor, the origin rounds k * n to binary32 before it is added.
    """
    clip = np.ones(len(x), np.float32)
    step = max(SLICE_WEIGHTS // x.shape[1], 1)
    for _ in range(ITERATIONS):
        last = clip
        parts = [
            next_clips(
                x[start : start + step], last[start : start + step], bits, one_group=one_group
            )
            for start in range(0, len(x), step)
        ]
        clip = np.concatenate(parts)
        if settled(last, clip):
            break
    return clip


def next_clips(
    x: F32, clip: F32, bits: int, *, one_group: bool = False
) -> F32:  # f32[g, n], f32[g] -> f32[g]
    """One step of Newton's method. A clip of 0 counts a weight of 0 on both of its sides."""
    share = np.float32(2.0 ** (-2 * bits) / 3)
    above, below = x >= clip[:, None], x <= -clip[:, None]
    total = folded_sum(np.where(above | below, np.abs(x), np.float32(0))).astype(np.float32)
    count = np.count_nonzero(above, axis=1) + np.count_nonzero(below, axis=1)
    outside = count.astype(np.float32) * (np.float32(1) - share)
    if one_group:
        return np.asarray(total / (outside + share * np.float32(x.shape[1])))
    weights = outside + np.float64(share) * x.shape[1]
    return np.asarray(total / weights.astype(np.float32))


def settled(last: F32, clip: F32) -> bool:
    """Whether every group moved by at most 1e-8 + 1e-5 * clip, in binary32."""
    near = np.abs(last - clip) <= ABSOLUTE + RELATIVE * np.abs(clip)
    return bool(((near & np.isfinite(clip)) | (last == clip)).all())


def scales(x: F32, rule: Rule) -> F32:  # f32[g, n] -> f32[g]
    """Scales before their storage: the largest magnitude or the clip, the smaller, over qmax."""
    bits = int(rule["bits"])
    largest = magnitude_of(*extremes(x))
    limit = clips(x, bits, one_group=rule["granularity"] == "tensor")
    if rule["granularity"] == "group":
        # The origin's limit of float16 scales; the codes it allows for are those of `bits` + 1.
        limit = np.minimum(limit, np.float32(65280 * (2**bits - 1)))
    bound = np.minimum(np.maximum(largest, LEAST_EXTENT), limit)
    return np.asarray(bound / np.float32(rule.qmax))
