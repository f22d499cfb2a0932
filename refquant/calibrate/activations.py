"""Ranges of activations, found on samples before the model runs: what static contracts need.

A sample is what one product reads, or gives, for one window of a text. Four rules make one range
of many samples:

- `minmax`: the least and the largest number of all samples.
- `moving_average`: each sample's extremes, merged as `0.95 * so_far + 0.05 * new`, in binary32; the
  first sample begins. AI Edge Quantizer 0.10 (`utils/qsv_utils.py`) has both of these, and leaves
  out numbers that are not inside of -3e38 to 3e38, unless there are no others.
- `percentile` and `entropy`: read from a histogram of all samples (`histograms.py`).

A range never reaches beyond the extremes that were seen. Whether 0.0 has to be inside of it is the
contract's matter, not that of the range.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate.histograms import (
    ActivationRange,
    Histogram,
    entropy_range,
    nothing_seen,
    percentile_range,
)
from refquant.errors import UsageError

__all__ = [
    "RANGE_RULES",
    "ActivationRange",
    "Observer",
    "RangeRule",
    "extremes",
]

F32 = NDArray[np.float32]

RuleName = Literal["minmax", "moving_average", "percentile", "entropy"]

RANGE_RULES: Final[tuple[RuleName, ...]] = get_args(RuleName)

BOUND: Final = np.float32(3e38)
"""Numbers at or beyond it are no measurements: AI Edge's valid range."""


class Observer(Protocol):
    """Sees one sample after another and has a range for all of them."""

    def add(self, x: F32) -> None:
        """Take the sample into account."""

    def range(self) -> ActivationRange:
        """The range of what was seen; UsageError where that is nothing."""


@dataclass(frozen=True, slots=True)
class RangeRule:
    """How samples become a range, with the numbers that the rule asks for.

    `smoothing` is what the moving average keeps of the past. `percentile` is the share, in percent,
    that stays inside. `bins` is how many bins a histogram begins with, and `levels` to how many of
    them the entropy rule rounds; there are fewer levels than bins, and both are even.
    """

    name: RuleName = "moving_average"
    smoothing: float = 0.95
    percentile: float = 99.999
    bins: int = 2048
    levels: int = 128

    def __post_init__(self) -> None:
        if self.name not in RANGE_RULES:
            known = ", ".join(RANGE_RULES)
            raise UsageError(
                f"activation ranges: the rule is {self.name!r}, expected one of {known}"
            )
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"activation ranges: smoothing is {self.smoothing}, expected 0 to 1")
        if not 0 < self.percentile <= 100:
            raise UsageError(
                f"activation ranges: the percentile is {self.percentile}, expected 0 to 100 percent"
            )
        if not 2 <= self.levels < self.bins <= 1 << 20 or self.levels % 2 or self.bins % 2:
            raise UsageError(
                f"activation ranges: {self.bins} bins and {self.levels} levels; expected even "
                "numbers, and fewer levels than bins"
            )

    def observer(self) -> Observer:
        """A new observer that goes by this rule."""
        if self.name == "minmax":
            return _Extremes()
        if self.name == "moving_average":
            return _Averages(self.smoothing)
        return _OfHistogram(self)


def extremes(x: F32) -> tuple[np.float32, np.float32]:  # f32[...] -> f32, f32
    """The least and the largest number inside of -3e38 to 3e38.

    Where no number lies above the lower bound, or none below the upper one, the plain extreme takes
    the place of that side.
    """
    low = np.min(x, where=x > -BOUND, initial=np.float32(np.inf))
    high = np.max(x, where=x < BOUND, initial=np.float32(-np.inf))
    low = np.min(x) if low == np.inf else low
    high = np.max(x) if high == -np.inf else high
    return np.float32(low), np.float32(high)


class _Extremes:
    """The extremes of all samples."""

    def __init__(self) -> None:
        self._found: tuple[np.float32, np.float32] | None = None

    def add(self, x: F32) -> None:
        found = extremes(x)
        self._found = found if self._found is None else self._merged(self._found, found)

    def _merged(
        self, before: tuple[np.float32, np.float32], new: tuple[np.float32, np.float32]
    ) -> tuple[np.float32, np.float32]:
        return min(before[0], new[0]), max(before[1], new[1])

    def range(self) -> ActivationRange:
        if self._found is None:
            raise nothing_seen()
        return ActivationRange(float(self._found[0]), float(self._found[1]))


class _Averages(_Extremes):
    """A moving average of each sample's extremes."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self._kept, self._taken = np.float32(smoothing), np.float32(1.0 - smoothing)

    def _merged(
        self, before: tuple[np.float32, np.float32], new: tuple[np.float32, np.float32]
    ) -> tuple[np.float32, np.float32]:
        low, high = (
            np.float32(self._kept * one + self._taken * other)
            for one, other in zip(before, new, strict=True)
        )
        return low, high


class _OfHistogram:
    def __init__(self, rule: RangeRule) -> None:
        self._rule, self._histogram = rule, Histogram(rule.bins)

    def add(self, x: F32) -> None:
        self._histogram.add(x)

    def range(self) -> ActivationRange:
        if self._rule.name == "percentile":
            return percentile_range(self._histogram, self._rule.percentile)
        return entropy_range(self._histogram, self._rule.levels)
