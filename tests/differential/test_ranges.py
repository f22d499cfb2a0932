"""Ranges of activations equal those of ONNX Runtime and of AI Edge Quantizer, to the bit."""

import numpy as np
import pytest

from refquant.calibrate.activations import RangeRule
from tests.worker_process import answering

pytestmark = pytest.mark.differential

SETTINGS = [
    *(f"percentile {bins} 0 {p}" for bins in (128, 2048) for p in (100, 99.999, 99.9, 90)),
    *(f"entropy {bins} {levels} 0" for bins, levels in ((512, 128), (300, 16))),
]


def samples(kind):
    """Six samples of one kind of activations, f32[6, 4000], that grow less than fourfold."""
    chance = np.random.default_rng(16)
    x = chance.normal(size=(6, 4000))
    if kind == "heavy tails":
        x = np.clip(chance.standard_t(2, size=x.shape), -40, 40)
    elif kind == "growing":
        x *= 1.2 ** np.arange(6)[:, None]
    elif kind == "never negative":
        x = np.abs(x) * 0.01
    elif kind == "zeros first":
        x[:2] = 0
    elif kind == "one outlier":
        x[3, 7] = -11
    elif kind == "few values":
        x = chance.integers(-2, 4, x.shape) * 0.25
    elif kind == "tiny":
        x *= 1e-30
    return x.astype(np.float32)


KINDS = (
    *("normal", "heavy tails", "growing", "never negative"),
    *("zeros first", "one outlier", "few values", "tiny"),
)


def found(rule, x):
    observer = rule.observer()
    for sample in x:
        observer.add(sample)
    return observer.range().minimum, observer.range().maximum


@pytest.fixture(scope="module")
def onnx(oracle, tmp_path_factory):
    with answering(oracle("onnx"), "ranges_worker.py", tmp_path_factory.mktemp("o"), "onnx") as ask:
        yield ask


@pytest.fixture(scope="module")
def aeq(oracle, tmp_path_factory):
    with answering(oracle("aeq"), "ranges_worker.py", tmp_path_factory.mktemp("a"), "aeq") as ask:
        yield ask


@pytest.mark.parametrize("kind", KINDS)
def test_histograms_of_onnx_runtime(kind, onnx):
    x = samples(kind)
    theirs = onnx(x=x, settings=SETTINGS)
    for number, setting in enumerate(SETTINGS):
        method, bins, levels, percent = setting.split()
        if method == "percentile":
            rule = RangeRule("percentile", bins=int(bins), percentile=float(percent), levels=2)
        else:
            rule = RangeRule("entropy", bins=int(bins), levels=int(levels))
        expected = theirs["low"][number], theirs["high"][number]
        assert found(rule, x) == expected, setting


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_and_averages_of_ai_edge_quantizer(kind, aeq):
    x = samples(kind)
    x[1, 5], x[1, 6], x[4] = np.inf, np.nan, 3.2e38
    theirs = aeq(x=x)
    assert np.array_equal(found(RangeRule("minmax"), x), theirs["extremes"])
    assert np.array_equal(found(RangeRule("moving_average"), x), theirs["average"])
