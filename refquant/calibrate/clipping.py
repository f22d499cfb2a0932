"""Clipping: scales that fit most weights of a group, at the price of the largest ones.

A scheme's own encoder usually makes scales reach the extremes of a group. Where weights are clipped
first, the same encoder gives finer steps. Three ways to say how far:

- `percentile`: to a quantile of the group's magnitudes.
- `mse`: to the part of the range that leaves the least mean square error, found by trying some, as
  in Nagel and others, "A White Paper on Neural Network Quantization" (2021), section 3.1. With the
  importance of each column, errors count by it: that is what an importance matrix asks for.
- `octav`: to the clip at which the errors of rounding and of clipping balance, by Newton's method
  (Sakr and others, "Optimal Clipping and Magnitude-aware Differentiation for Improved
  Quantization-aware Training", 2022), as in AI Edge Quantizer.

All of them work for every scheme, since they only change what its encoder is given. A group is what
the encoder sees together: of K-quants a super-block.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate.levels import code_bits
from refquant.driver import Scheme, grouped
from refquant.errors import UsageError
from refquant.layout.layout import aligned
from refquant.schemes.aeq import octav
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["least_squares", "octav_clipped", "percentile_clipped"]

F32 = NDArray[np.float32]

STEP: Final = np.float32(1 / 32)
"""Parts of a range that are tried: 1, 31/32, 30/32 ..."""


def percentile_clipped(
    weights: F32, scheme: Scheme, percentile: float = 99.0, *, threads: int | None = None
) -> QuantizedTensor:  # f32[n, k] -> packed[n, k]
    """The weights under `scheme`, those beyond a percentile of their group's magnitudes clipped.

    The quantile lies between two magnitudes in proportion; a ragged last group counts zeros.
    """
    if not 0 < percentile <= 100:
        raise UsageError(f"the percentile is {percentile}, expected more than 0 and at most 100")
    spread = _Groups(weights, scheme)
    rows = np.abs(grouped(weights, spread.sizes))
    bound = np.quantile(rows, percentile / 100, axis=1).astype(np.float32)
    limit = spread.spread(bound)
    return quantize(np.clip(weights, -limit, limit), scheme, threads=threads)


def octav_clipped(
    weights: F32, scheme: Scheme, *, threads: int | None = None
) -> QuantizedTensor:  # f32[n, k] -> packed[n, k]
    """The weights under `scheme`, clipped where OCTAV says; a group of zeros stays as it is."""
    spread = _Groups(weights, scheme)
    with np.errstate(all="ignore"):
        bound = octav.clips(grouped(weights, spread.sizes), code_bits(scheme.layout))
    limit = spread.spread(np.where(np.isfinite(bound), bound, np.float32(np.inf)))
    return quantize(np.clip(weights, -limit, limit), scheme, threads=threads)


def least_squares(
    weights: F32,
    scheme: Scheme,
    importance: F32 | None = None,
    *,
    steps: int = 20,
    threads: int | None = None,
) -> QuantizedTensor:  # f32[n, k], f32[k]? -> packed[n, k]
    """The weights under `scheme`, each group clipped where its square error is least.

    `steps` parts of the range are tried, each 1/32 less than the last; the whole range wins ties. A
    symmetric scheme's range is clipped around 0, that of another around its middle. Errors in a
    column count by its `importance`, where there is one.
    """
    if not 1 <= steps < 1 / STEP:
        raise UsageError(f"{steps} steps of clipping; expected 1 to {int(1 / STEP) - 1}")
    spread = _Groups(weights, scheme)
    middle, reach = spread.ranges(weights, around_zero=_is_symmetric(scheme, weights.shape))
    best = np.ones(spread.counts, np.float32)
    least = np.full(spread.counts, np.inf, np.float32)
    for step in range(steps):
        part = np.float32(1) - np.float32(step) * STEP
        clipped = _clipped(weights, middle, reach, spread, np.full_like(best, part))
        error = quantize(clipped, scheme, threads=threads).dequantize(threads=threads)
        np.square(np.subtract(error, weights, out=error), out=error)
        if importance is not None:
            error *= importance
        total = spread.reduced(error, np.add)
        better = total < least
        best[better], least[better] = part, total[better]
    return quantize(_clipped(weights, middle, reach, spread, best), scheme, threads=threads)


def _clipped(weights: F32, middle: F32, reach: F32, spread: "_Groups", part: F32) -> F32:
    """Each group's weights kept inside of `middle - part * reach` to `middle + part * reach`."""
    kept = part * reach
    # A rounded sum may lie inside of the extreme that it stands for; whole ranges clip nothing.
    low = np.where(part == 1, np.float32(-np.inf), middle - kept)
    high = np.where(part == 1, np.float32(np.inf), middle + kept)
    return np.clip(weights, spread.spread(low), spread.spread(high))


def _is_symmetric(scheme: Scheme, shape: tuple[int, ...]) -> bool:
    """Whether groups without negative weights get as coarse a step as those with them.

    Told by trying: of weights from 1 to 2, a scheme with a zero point or an offset misses less.
    """
    columns = aligned(scheme.group, shape)[-1]
    rows = aligned(scheme.group, shape)[-2] if len(shape) > 1 else 1
    columns = shape[-1] if shape[-1] % columns or columns == 1 else columns
    line = np.linspace(1, 2, columns, dtype=np.float32)
    away = np.resize([1, -1], columns).astype(np.float32) * (line - np.float32(1.5)) * np.float32(4)
    errors = []
    for row in (line, away):
        x = np.tile(row, (rows, 1))
        found = quantize(x, scheme).dequantize() - x
        errors.append(float(np.sqrt(np.mean(found * found))) / float(np.abs(x).max()))
    return errors[0] > 0.8 * errors[1]


class _Groups:
    """The groups of a tensor under a scheme, as an array with one element for each."""

    def __init__(self, weights: F32, scheme: Scheme) -> None:
        self.shape, self.sizes = weights.shape, aligned(scheme.group, weights.shape)
        self.counts = tuple(
            -(-extent // size) for extent, size in zip(self.shape, self.sizes, strict=True)
        )

    def reduced(self, x: F32, by: np.ufunc) -> F32:  # f32[*shape] -> f32[*counts]
        """Each group folded into one number."""
        for axis, (extent, size) in enumerate(zip(self.shape, self.sizes, strict=True)):
            if size > 1:
                x = by.reduceat(x, np.arange(0, extent, size), axis=axis)
        return x

    def spread(self, x: F32) -> F32:  # f32[groups] or f32[*counts] -> f32[*shape]
        """Each group's number at each of its weights."""
        x = x.reshape(self.counts)
        for axis, size in enumerate(self.sizes):
            if size > 1:
                x = np.repeat(x, size, axis=axis)
        return x[tuple(slice(extent) for extent in self.shape)]

    def ranges(self, x: F32, *, around_zero: bool) -> tuple[F32, F32]:
        """The middle of each group, and how far it reaches to either side."""
        low, high = self.reduced(x, np.minimum), self.reduced(x, np.maximum)
        if around_zero:
            return np.zeros_like(low), np.maximum(-low, high)
        middle = (low + high) * np.float32(0.5)
        return middle, high - middle
