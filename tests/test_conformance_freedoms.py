"""What engines are free in is bounded by what they can compute: no tighter, and hardly wider."""

import math

import numpy as np
import pytest

from conformance.oracle import bends, llama_bounds
from conformance.oracle.quotients import code_bounds
from refquant.runtime import ops
from refquant.testing import SplitMix64


@pytest.mark.parametrize("scale", [np.float32(1 / 3), np.float32(0.0131), np.float32(0.25)])
def test_both_ways_to_a_quotient_lie_within_the_interval(scale):
    steps = np.arange(-130, 130, dtype=np.float32) + np.float32(0.5)
    middles = (steps.astype(np.float64) * scale).astype(np.float32)
    x = np.concatenate([np.nextafter(middles, np.float32(s)) for s in (-np.inf, np.inf)])
    x = np.concatenate([x, middles])
    low, high = zip(*(code_bounds(v, float(scale), 3, -128, 127) for v in x.tolist()), strict=True)
    for quotients in (x / scale, x * (np.float32(1) / scale)):
        codes = np.clip(np.rint(quotients) + 3, -128, 127)
        assert (codes >= low).all()
        assert (codes <= high).all()
    open_ones = np.array(low) != np.array(high)
    assert open_ones.any() == (math.frexp(scale)[0] != 0.5)
    assert (np.array(high) - np.array(low)).max() <= 1


@pytest.mark.parametrize("name", list(bends.BENDS))
def test_a_library_of_another_kind_lies_within_the_units(name):
    x = (np.arange(1, 60, dtype=np.float32) / np.float32(10)) - np.float32(1)
    exact = np.array([bends.BENDS[name](v) for v in x.tolist()], np.float32)
    for found in (getattr(ops, name)(x.copy()), by_binary64(name, x)):
        units = np.abs(found.view(np.int32).astype(np.int64) - exact.view(np.int32))
        assert units.max() <= 2 < bends.ulps(name, 1)


def by_binary64(name, x):
    wide = x.astype(np.float64)
    if name == "silu":
        return (wide / (1 + np.exp(-wide))).astype(np.float32)
    inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
    erf = np.array([math.erf(v * math.sqrt(0.5)) for v in wide])
    return (wide / 2 * (1 + (erf if name == "gelu" else np.tanh(inner)))).astype(np.float32)


def test_balls_hold_what_orders_of_sums_give():
    random = SplitMix64(77)
    x, w = random.bell(64), random.bell(64)
    balls = [[llama_bounds.Ball(v) for v in side.tolist()] for side in (x, w)]
    found = llama_bounds.dot(*balls)
    for order in (np.arange(64), np.argsort(x), np.argsort(-np.abs(x * w))):
        total = np.float32(0)
        for k in order:
            total = np.float32(total + np.float32(x[k] * w[k]))
        assert abs(float(total) - found.value) <= found.radius
    near = llama_bounds.raised(llama_bounds.Ball(1.0, 2.0**-20))
    assert math.exp(1 + 2.0**-20) <= near.value + near.radius


def test_a_row_is_decided_by_more_than_both_radii():
    row = [llama_bounds.Ball(1.0, 0.1), llama_bounds.Ball(1.3, 0.1), llama_bounds.Ball(0.0)]
    assert llama_bounds.decided(row)
    assert not llama_bounds.decided([llama_bounds.Ball(1.0, 0.2), *row[1:]])
