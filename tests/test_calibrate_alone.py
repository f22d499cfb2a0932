"""Algorithms that look at the weights alone: what each lowers, and its search written out."""

import numpy as np
import pytest

import refquant
from refquant.calibrate.clipping import least_squares, octav_clipped, percentile_clipped
from refquant.calibrate.half_quadratic import HqqOptions, hqq, offset_field
from refquant.calibrate.smoothquant import smoothing_scales
from refquant.errors import SchemeError, UsageError
from tests.roundings import SINGLE, assert_rounded, gamma

SYMMETRIC = ("int/affine[bits=3,group=64]", "torchao/int4[sym,group=32]", "bnb/nf4", "ggml/q4_0")
OFFSETS = (
    *("ggml/q4_1", "ggml/q5_1", "torchao/int4_tinygemm[group=64]", "hqq/affine[bits=3,group=64]"),
    *("mlx/affine[bits=4]", "quanto/qint4"),
)
ANY = (*SYMMETRIC, *OFFSETS, "int/affine[bits=4,asym,group=64]", "aeq/int4", "ggml/q3_k")


@pytest.fixture(scope="module")
def weights():
    """Rows with some large weights, as trained matrices have."""
    return np.random.default_rng(3).standard_t(5, size=(24, 256)).astype(np.float32)


def squares(weights, tensor, group=64):
    away = (tensor.dequantize() - weights).astype(np.float64)
    return np.square(away).reshape(-1, group).sum(axis=1)


@pytest.mark.parametrize("name", ANY)
def test_the_search_lowers_the_square_error_and_never_raises_it(name, weights):
    scheme = refquant.scheme(name)
    rounded = squares(weights, refquant.quantize(weights, scheme), 256)
    found = squares(weights, least_squares(weights, scheme), 256)
    # The search compares sums of up to 256 squares in binary32.
    assert (found <= rounded * (1 + 2 * gamma(256 + 3))).all()
    assert found.sum() < 0.98 * rounded.sum()


@pytest.mark.parametrize(
    "name", ["int/affine[bits=4,group=64]", "int/affine[bits=3,asym,group=64]"]
)
def test_the_search_one_group_at_a_time(name, weights):
    scheme, found = (
        refquant.scheme(name),
        least_squares(weights[:2], refquant.scheme(name), steps=9),
    )
    values = found.dequantize().reshape(-1, 64)
    for group, chosen in zip(weights[:2].reshape(-1, 64), values, strict=True):
        low, high = group.min(), group.max()
        middle = np.float32(0) if "asym" not in name else (low + high) * np.float32(0.5)
        reach = max(-low, high) if "asym" not in name else high - middle
        tried = []
        for step in range(9):
            kept = np.float32(1 - step / 32) * reach
            x = group if step == 0 else np.clip(group, middle - kept, middle + kept)
            tried.append(refquant.quantize(x[np.newaxis], scheme).dequantize()[0])
        errors = [np.square(one - group).sum(dtype=np.float64) for one in tried]
        (taken,) = {
            error for one, error in zip(tried, errors, strict=True) if np.array_equal(one, chosen)
        }
        assert taken <= min(errors) * (1 + 2 * gamma(64 + 3))


def test_errors_count_by_importance(weights):
    scheme = refquant.scheme("int/affine[bits=3,channel]")
    importance = np.ones(256, np.float32)
    importance[::8] = 100
    plain, weighted = (
        np.square(least_squares(weights, scheme, one).dequantize() - weights)
        for one in (None, importance)
    )
    assert (weighted * importance).sum() < 0.97 * (plain * importance).sum()


@pytest.mark.parametrize("clipped", [percentile_clipped, octav_clipped])
def test_clipping_lowers_the_error_of_long_rows(clipped, weights):
    scheme = refquant.scheme("int/affine[bits=4,channel]")
    rounded = squares(weights, refquant.quantize(weights, scheme)).sum()
    assert squares(weights, clipped(weights, scheme)).sum() < 0.9 * rounded


def test_the_percentile_is_that_of_magnitudes():
    line = np.arange(-50, 51, dtype=np.float32)[np.newaxis]
    found = percentile_clipped(line, refquant.scheme("int/affine[bits=8,channel]"), 90.0)
    # 101 magnitudes, 90 percent of the way from the first to the last: the 90th of 0, 1, 1 ... 50.
    assert found.dequantize().max() == np.float32(45) / np.float32(127) * np.float32(127)
    with pytest.raises(UsageError, match="the percentile is 0"):
        percentile_clipped(line, refquant.scheme("int/affine[bits=8,channel]"), 0)


@pytest.mark.parametrize("name", OFFSETS)
def test_hqq_lowers_its_norm(name, weights):
    scheme = refquant.scheme(name)
    rounded = np.abs(refquant.quantize(weights, scheme).dequantize() - weights) ** 0.7
    found = hqq(weights, scheme)
    assert found.scheme.name == scheme.name
    missed = np.abs(found.dequantize() - weights) ** 0.7
    assert missed.sum() < 0.99 * rounded.sum()


def test_hqq_keeps_scales_and_moves_offsets(weights):
    plain = refquant.quantize(weights, "hqq/affine[bits=4,group=64]")
    found = hqq(weights, plain.scheme)
    assert np.array_equal(found.planes["scales"], plain.planes["scales"])
    assert not np.array_equal(found.planes["zeros"], plain.planes["zeros"])


def test_hqq_by_its_formula():
    """One group, one round of p = 1, where the proximal operator is plain shrinking."""
    x = np.random.default_rng(8).standard_gamma(2, size=(1, 64)).astype(np.float32)
    scheme = refquant.scheme("hqq/affine[bits=4,group=64]")
    plain = refquant.quantize(x, scheme)
    scale = float(plain.planes["scales"].reshape(-1).view("<f4")[0])
    zero = float(plain.planes["zeros"].reshape(-1).view("<f4")[0])
    codes = np.clip(np.rint(x / scale + zero), 0, 15)
    rest = x - (codes - zero) * scale
    apart = np.sign(rest) * np.maximum(np.abs(rest) - 1 / 50, 0)
    terms = codes - (x - apart) / scale
    found = hqq(x, scheme, HqqOptions(norm=1.0, beta=50.0, rounds=1))
    # The mean of 64 terms in binary32, each of about ten operations; terms cancel in part.
    size = np.mean(np.abs(codes) + np.abs(x - apart) / scale)
    zeros = found.planes["zeros"].reshape(-1).view("<f4")
    assert_rounded(zeros, [np.mean(terms)], 64 + 10, SINGLE, size=size)


@pytest.mark.parametrize("name", ["ggml/q4_0", "ggml/q4_k", "int/affine[bits=4,asym,group=32]"])
def test_schemes_without_an_offset(name, weights):
    assert offset_field(refquant.scheme(name).layout) is None
    with pytest.raises(SchemeError, match="HQQ moves the real offset"):
        hqq(weights, refquant.scheme(name))


def test_groups_of_zeros_stay_zeros():
    x = np.zeros((2, 64), np.float32)
    for name in ("ggml/q4_0", "ggml/q4_1", "int/affine[bits=4,asym,group=32]"):
        scheme = refquant.scheme(name)
        for algorithm in (least_squares, octav_clipped, percentile_clipped):
            assert not algorithm(x, scheme).dequantize().any()
    assert not hqq(x, refquant.scheme("ggml/q4_1")).dequantize().any()


def test_smoothing_scales_by_hand():
    first, second = np.float32([[1, -4], [0.5, 0]]), np.float32([[-2, 1]])
    found = smoothing_scales([first, second], np.array([8.0, 100.0]), 0.5)
    # sqrt(8 / 2), sqrt(100 / 4): two powers and a quotient in binary32.
    assert_rounded(found, [2.0, 5.0], 2 + 2 + 1, SINGLE)
    assert smoothing_scales([first], np.array([8.0, 3.0]), 1.0).tolist() == [8, 3]
    with pytest.raises(UsageError, match="alpha is 2"):
        smoothing_scales([first], np.ones(2), 2)
