"""Ranges of activations: distributions whose range can be told by hand."""

import numpy as np
import pytest

from refquant.calibrate.activations import ActivationRange, RangeRule, extremes
from refquant.calibrate.histograms import Histogram, entropy_range, percentile_range
from refquant.errors import UsageError


def after(rule, *samples):
    observer = rule.observer()
    for sample in samples:
        observer.add(np.asarray(sample, np.float32))
    return observer.range()


def test_extremes_of_all_samples():
    assert after(RangeRule("minmax"), [1, 2], [-3, 1], [0]) == ActivationRange(-3, 2)


def test_the_moving_average_keeps_95_of_100_in_binary32():
    kept, new = np.float32(0.95), np.float32(1 - 0.95)
    low = kept * np.float32(-1) + new * np.float32(-2)
    high = kept * np.float32(3) + new * np.float32(0.5)
    assert after(RangeRule(), [-1, 3], [-2, 0.5]) == ActivationRange(float(low), float(high))
    assert after(RangeRule(), [-1, 3]) == ActivationRange(-1, 3)
    assert after(RangeRule(smoothing=0.5), [-1, 3], [-2, 1]) == ActivationRange(-1.5, 2)


def test_what_is_no_measurement_is_left_out():
    x = np.float32([np.nan, np.inf, -np.inf, 3.1e38, -3.1e38, 2, -1])
    assert extremes(x) == (-1, 2)
    assert extremes(np.float32([np.inf, 3.2e38])) == (np.float32(3.2e38), np.inf)


def test_percentiles_of_a_flat_distribution():
    """10,000 equal steps from -1 to 1: 1 percent at either end is 0.02 wide."""
    x = np.linspace(-1, 1, 10_000, dtype=np.float32)
    histogram = Histogram(1000)
    histogram.add(x)
    found = percentile_range(histogram, 98.0)
    # 10 steps in each of 1000 bins: the 10th reaches 1 percent, the 990th 99 percent.
    assert histogram.counts[[9, 989]].tolist() == [10, 10]
    assert found == ActivationRange(float(histogram.edges[9]), float(histogram.edges[989]))
    assert percentile_range(histogram, 100.0).minimum == -1


def test_one_outlier_among_many_is_cut_off_by_percentile_and_entropy():
    x = np.random.default_rng(2).normal(size=100_000).astype(np.float32)
    x[7] = 200
    for rule in (RangeRule("percentile", percentile=99.99), RangeRule("entropy")):
        assert after(rule, x).maximum < 30
        assert after(rule, x).minimum >= x.min()
    assert after(RangeRule("minmax"), x).maximum == 200


def test_bins_are_added_at_both_ends_and_counts_stay():
    histogram = Histogram(8)
    histogram.add(np.float32([-1, 0.99, 0.3]))
    histogram.add(np.float32([2.1, -0.1]))
    assert (len(histogram.counts), histogram.counts.sum()) == (8 + 2 * 5, 5)
    assert histogram.limit == 2.25
    assert histogram.counts[[5, 8, 10, 12, 17]].tolist() == [1, 1, 1, 1, 1]
    histogram.add(np.float32([0.0]))
    assert (len(histogram.counts), histogram.counts.sum()) == (18, 6)


def test_neighbours_become_one_where_there_would_be_too_many_bins():
    histogram = Histogram(8)
    histogram.add(np.float32([-1, -0.2, 0.2, 0.4, 0.99]))
    histogram.add(np.float32([-100.0, 3.0]))
    assert len(histogram.counts) <= 32
    assert histogram.counts.sum() == 7
    width = 2 * histogram.limit / len(histogram.counts)
    assert width >= 200 / 32
    middle = len(histogram.counts) // 2
    assert histogram.counts[middle - 1 : middle + 1].tolist() == [2, 4]
    assert histogram.counts[0] == 1
    assert width == 8  # a power of two, so that every edge is exact
    assert (np.diff(histogram.edges) == width).all()


def test_a_range_never_reaches_beyond_what_was_seen():
    x = np.float32([0.5, 1.0, 0.75, 0.5])
    for name in ("percentile", "entropy"):
        found = after(RangeRule(name, bins=16, levels=4), x)
        assert 0.5 <= found.minimum <= found.maximum <= 1.0


def test_entropy_by_its_definition():
    """Every stretch of bins, each distribution written out in lists."""
    chance = np.random.default_rng(5)
    x = (chance.standard_t(3, size=3000) ** 3).astype(np.float32)
    histogram, levels = Histogram(64), 8
    histogram.add(x)
    counts = histogram.counts.tolist()
    scored = []
    for half in range(4, 33):
        start, stop = 32 - half, min(33 + half, 64)
        p = counts[start:stop]
        inside, merged = list(p), len(p) // levels
        p[0] += sum(counts[:start])
        p[-1] += sum(counts[stop:])
        q = [0] * len(p)
        for level in range(levels):
            bins = range(level * merged, (level + 1) * merged)
            total = sum(inside[i] for i in bins)
            total += sum(inside[levels * merged :]) if level == levels - 1 else 0
            filled = sum(p[i] != 0 for i in bins)
            for i in bins:
                q[i] = total // filled if filled else 0
        scored.append((divergence(p, q), histogram.edges[start], histogram.edges[stop]))
    scored.sort(key=lambda one: one[0])
    assert scored[1][0] > scored[0][0] * 1.0001  # no tie that rounding could decide
    found = entropy_range(histogram, levels)
    assert (found.minimum, found.maximum) == (
        max(scored[0][1], x.min()),
        min(scored[0][2], x.max()),
    )


def divergence(p, q):
    def smooth(counts):
        empty = counts.count(0)
        given = 0.0001 * empty / (len(counts) - empty)
        return np.array([c - given if c else 0.0001 for c in counts])

    p, q = smooth(p), smooth(q)
    p, q = p / p.sum(), q / q.sum()
    return (p * np.log(p / q)).sum()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "median"},
        {"smoothing": 1.0},
        {"percentile": 0},
        {"percentile": 101},
        {"bins": 64, "levels": 64},
        {"bins": 65, "levels": 2},
    ],
)
def test_rules_that_cannot_be(options):
    with pytest.raises(UsageError, match="activation ranges"):
        RangeRule(**options)


@pytest.mark.parametrize("name", ["minmax", "moving_average", "percentile", "entropy"])
def test_nothing_seen_is_no_range(name):
    with pytest.raises(UsageError, match="no sample was seen"):
        RangeRule(name).observer().range()


def test_bins_do_not_count_what_is_not_finite():
    with pytest.raises(UsageError, match="not finite"):
        Histogram(8).add(np.float32([1, np.nan]))
