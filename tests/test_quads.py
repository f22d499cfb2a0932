"""Groups in quads: every move undone, extremes as a loop finds them, zeros and NaN included."""

import numpy as np
import pytest

import refquant
from conformance.oracle import hqq as hqq_oracle
from refquant.schemes.quads import (
    extremes,
    extremes_and_zero,
    from_quads,
    magnitude_of,
    over_quads,
    quad_extremes,
    quads,
)

SHAPES = [(1, 4), (3, 8), (5, 7), (700, 32), (5000, 12), (40, 256), (20, 300)]


def weights(shape):
    """Numbers of which many are zeros of both signs; some groups have no other extreme."""
    generator = np.random.default_rng(shape[1])
    x = generator.normal(size=shape).astype(np.float32)
    x[::3], x[1::3] = np.abs(x[::3]), -np.abs(x[1::3])
    zeros = np.where(generator.random(shape) < 0.5, np.float32(0), np.float32(-0.0))
    return np.where(generator.random(shape) < 0.4, zeros, x)


def bits(numbers):
    return np.asarray(numbers, np.float32).view(np.uint32).tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_extremes_are_the_first_of_equals(shape):
    x = weights(shape)
    low, high = extremes(x)
    assert bits(low) == bits([min(row) for row in x.tolist()])
    assert bits(high) == bits([max(row) for row in x.tolist()])
    low, high = extremes_and_zero(x)
    assert bits(low) == bits([min(0.0, *row) for row in x.tolist()])
    assert bits(high) == bits([max(0.0, *row) for row in x.tolist()])


@pytest.mark.parametrize("shape", [(3, 8), (700, 32), (5000, 12)])
def test_quads_are_moved_and_moved_back(shape):
    x = weights(shape)
    parts = quads(x)
    assert parts.shape == (shape[1] // 4, 4 * shape[0])
    assert bits(parts[1, 4:8]) == bits(x[1, 4:8])
    codes = (parts * 3).astype(np.int8)
    assert np.array_equal(from_quads(codes), (x * 3).astype(np.int8))
    by_group = np.arange(len(x), dtype=np.float32)
    assert np.array_equal(
        from_quads((parts * 0 + over_quads(by_group % 127)).astype(np.int8))[:, 0], by_group % 127
    )
    low, high = quad_extremes(parts)
    magnitude = magnitude_of(low, high)
    assert np.array_equal([low, high], [x.min(axis=1), x.max(axis=1)])
    assert bits(magnitude) == bits(np.abs(x).max(axis=1))
    zeros = np.concatenate([end[end == 0] for end in (low, high)])
    assert not np.signbit(zeros).any()


@pytest.mark.parametrize("count", [2, 500])
def test_a_nan_is_kept(count):
    x = np.ones((count, 32), np.float32)
    x[1, 5] = np.nan
    for end in (*extremes(x), *extremes_and_zero(x), *quad_extremes(quads(x))):
        assert np.flatnonzero(np.isnan(end)).tolist() == [1]


@pytest.mark.parametrize("sign", [1, -1])
def test_stored_zeros_have_the_sign_of_the_first(sign):
    """Formats that store a minimum: where it is zero, its sign is that of the first zero."""
    x = np.abs(weights((300, 64))) * np.float32(sign)
    x = np.where(x == 0, weights((300, 64)) * np.float32(0), x).astype(np.float32)
    name = "hqq/affine[bits=4,group=64]"
    zeros = refquant.quantize(x, name).planes["zeros"].view("<u4").reshape(-1)
    assert zeros.tolist() == [hqq_oracle.encode(row, 4, "real", "f32")[1] for row in x.tolist()]
    blocks = refquant.quantize(x, "ggml/q4_1").planes["blocks"].reshape(-1, 20)
    least = np.float16([min(row) for row in x.reshape(-1, 32).tolist()])
    assert blocks[:, 2:4].copy().view("<u2").ravel().tolist() == least.view(np.uint16).tolist()
    for scheme in ("ggml/q4_0", "ggml/q5_0"):
        found = refquant.quantize(x * 0, scheme).planes["blocks"].reshape(600, -1)
        assert (found[:, :2] == [0, 0x80]).all()
    assert not refquant.quantize(x * 0, "ggml/q8_0").planes["blocks"].any()
