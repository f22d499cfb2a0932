"""Histograms of activations, and the ranges that two rules read from them.

- `percentile`: equal shares of (100 - percentile) / 2 percent are cut off at both ends. ONNX
  Runtime 1.31 (`quantization/calibrate.py`).
- `entropy`: the symmetric part whose numbers lose least information, as measured by the
  Kullback-Leibler divergence, when they are rounded to `levels` levels and those outside of it are
  clipped. Migacz, "8-bit Inference with TensorRT" (2017), in the form of ONNX Runtime 1.31.
"""

from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError

__all__ = ["ActivationRange", "Histogram", "entropy_range", "nothing_seen", "percentile_range"]

F32 = NDArray[np.float32]
Counts = NDArray[np.int64]

GROWTH: Final = 4
"""How many times as many bins a histogram may get as it began with."""

SMALLEST_SHARE: Final = 0.0001
"""What an empty bin counts when distributions are compared, of bins that count whole numbers."""


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """The least and the largest activation that codes have to reach; both are binary32 numbers."""

    minimum: float
    maximum: float


def nothing_seen() -> UsageError:
    """The error of a range that is asked for before any sample."""
    return UsageError("activation ranges: no sample was seen, so there is no range")


class Histogram:
    """How many numbers fell into each of the equal bins from -`limit` to `limit`.

    A sample with larger numbers adds bins of the same width at both ends. Where that would make
    more than `GROWTH` times as many as in the beginning, two neighbours become one first, which the
    origin does not do: one activation of 1000 after many of 1 would leave it with a million bins.
    """

    def __init__(self, bins: int) -> None:
        self.most = GROWTH * bins
        self.counts: Counts = np.zeros(bins, np.int64)
        self.edges: F32 = np.zeros(bins + 1, np.float32)
        self.limit = np.float32(0)
        self.low: np.float32 | None = None
        self.high: np.float32 | None = None

    def add(self, x: F32) -> None:
        """Count the numbers of a sample."""
        low, high = np.float32(np.min(x)), np.float32(np.max(x))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UsageError("activation ranges: an activation is not finite; no bin counts it")
        reach = max(abs(low), abs(high))
        if self.low is None or self.high is None:
            self.low, self.high, self.limit = low, high, reach
            self.counts, self.edges = _counted(x, len(self.counts), reach)
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        if reach <= self.limit:
            self.counts += _counted(x, len(self.counts), self.limit)[0]
        elif self.limit == 0:
            more, self.edges = _counted(x, len(self.counts), reach)
            self.counts, self.limit = self.counts + more, reach
        else:
            self._widen(x, reach)

    def _widen(self, x: F32, reach: np.float32) -> None:
        width, more = self._missing(reach)
        while len(self.counts) + 2 * more > self.most:
            self._halve(width)
            width, more = self._missing(reach)
        limit = np.float32(more) * width + self.limit
        counts, self.edges = _counted(x, len(self.counts) + 2 * more, limit)
        counts[more : len(counts) - more] += self.counts
        self.counts, self.limit = counts, limit

    def _missing(self, reach: np.float32) -> tuple[np.float32, int]:
        """The width of a bin, and how many are missing at each end."""
        width = np.float32(2) * self.limit / np.float32(len(self.counts))
        return width, int((reach - self.limit) // width + np.float32(1))

    def _halve(self, width: np.float32) -> None:
        """Neighbours become one, those around the edge at 0.0 stay apart."""
        if len(self.counts) % 4:
            self.counts = np.pad(self.counts, 1)
            self.limit += width
        self.counts = self.counts.reshape(-1, 2).sum(axis=1)

    def clipped(self, low: np.float32, high: np.float32) -> ActivationRange:
        """The range from low to high, less what lies beyond the extremes that were seen."""
        if self.low is None or self.high is None:
            raise nothing_seen()
        return ActivationRange(float(max(low, self.low)), float(min(high, self.high)))


def _counted(x: F32, bins: int, limit: np.float32) -> tuple[Counts, F32]:
    # Binary32 limits make binary32 edges, as in the origin; floats would make other ones.
    limits = cast("tuple[float, float]", (-limit, limit))
    counts, edges = np.histogram(x, bins, range=limits)
    return counts.astype(np.int64), edges.astype(np.float32)


def percentile_range(histogram: Histogram, percentile: float) -> ActivationRange:
    """The range that holds `percentile` percent of the numbers, half of the rest on either side.

    Both ends are lower edges of the bins in which the shares are reached.
    """
    if histogram.low is None:
        raise nothing_seen()
    shares = np.cumsum(histogram.counts / histogram.counts.sum())
    cut = (100.0 - percentile) / 200.0
    left, right = np.searchsorted(shares, cut), np.searchsorted(shares, 1.0 - cut)
    return histogram.clipped(histogram.edges[left], histogram.edges[right])


def entropy_range(histogram: Histogram, levels: int) -> ActivationRange:
    """The range around 0.0 that loses least information when `levels` levels stand for it.

    Every symmetric stretch of bins from `levels` bins on is tried; the narrowest wins ties.
    """
    if histogram.low is None:
        raise nothing_seen()
    counts, middle = histogram.counts, len(histogram.counts) // 2
    best, least = (0, len(counts)), np.inf
    for half in range(levels // 2, middle + 1):
        start, stop = middle - half, min(middle + half + 1, len(counts))
        divergence = _divergence(counts, start, stop, levels)
        if divergence < least:
            best, least = (start, stop), divergence
    return histogram.clipped(histogram.edges[best[0]], histogram.edges[best[1]])


def _divergence(counts: Counts, start: int, stop: int, levels: int) -> float:
    """How far `levels` levels are from the clipped numbers of counts[start:stop], in nats.

    Each level has as many bins, and its count is spread evenly over them: whole numbers, the rest
    is dropped. Bins that are left over at the end count for the last level and get nothing back.
    """
    inside = counts[start:stop]
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[stop:].sum()
    merged = len(inside) // levels
    covered = merged * levels
    sums = inside[:covered].reshape(levels, merged).sum(axis=1)
    sums[-1] += inside[covered:].sum()
    filled = (clipped[:covered] != 0).reshape(levels, merged).sum(axis=1)
    spread = np.zeros(len(inside), np.int64)
    share = np.divide(sums, filled, out=np.zeros(levels), where=filled != 0).astype(np.int64)
    spread[:covered] = np.repeat(share, merged)
    if not clipped.any() or not spread.any():
        return float(np.inf)
    return _kullback_leibler(_smoothed(clipped), _smoothed(spread))


def _smoothed(counts: Counts) -> F32:  # i64[n] -> f32[n]
    """Empty bins count a little, which the others give in equal parts."""
    empty = counts == 0
    filled = np.count_nonzero(~empty)
    given = np.float32(-SMALLEST_SHARE * (len(counts) - filled) / filled)
    return counts.astype(np.float32) + np.where(empty, np.float32(SMALLEST_SHARE), given)


def _kullback_leibler(of: F32, by: F32) -> float:  # f32[n], f32[n] -> nats
    p, q = of / np.sum(of), by / np.sum(by)
    return float(np.sum(p * np.log(p / q)))
