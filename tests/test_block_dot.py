"""Block dot products against scalar Python: integers, and binary32 rounded step by step."""

import numpy as np
import pytest

from refquant.arithmetic import (
    block_partials,
    ggml_offset_dot,
    ggml_q4_0_dot,
    ggml_scaled_dot,
    ggml_super_dot,
)
from refquant.errors import SchemeError

F = np.float32


def operands(blocks, size, seed=0):
    generator = np.random.default_rng(seed)
    codes = generator.integers(-8, 8, (3, blocks * size), dtype=np.int8)
    y = generator.integers(-128, 128, (3, blocks * size), dtype=np.int8)
    scales = generator.normal(size=(4, 3, blocks)).astype(np.float32)
    return codes, y, scales


def integer(codes, y):
    return sum(int(a) * int(b) for a, b in zip(codes, y, strict=True))


def by_block(row, blocks):
    return np.split(row, blocks)


def test_partials_are_exact_where_int8_and_int16_would_wrap():
    codes = np.full((1, 64), -128, np.int8)
    assert block_partials(codes, codes, 2).tolist() == [[128 * 128 * 32] * 2]


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_sums_of_blocks_follow_the_scalar_order(blocks):
    codes, y, (d, dy, m, s) = operands(blocks, 32)
    for row in range(3):
        left, scaled, offset = F(0), F(0), F(0)
        parts = zip(by_block(codes[row], blocks), by_block(y[row], blocks), strict=True)
        for b, (c, a) in enumerate(parts):
            p = F(integer(c, a))
            left = left + p * d[row, b] * dy[row, b]
            scaled = scaled + (d[row, b] * dy[row, b]) * p
            offset = offset + ((d[row, b] * dy[row, b]) * p + m[row, b] * s[row, b])
        assert ggml_q4_0_dot(codes, d, y, dy)[row] == left
        assert ggml_scaled_dot(codes, d, y, dy)[row] == scaled
        assert ggml_offset_dot(codes, d, m, y, dy, s)[row] == offset


def test_the_orders_of_scales_are_not_the_same():
    codes, y, (d, dy, _, _) = operands(8, 32)
    assert (ggml_q4_0_dot(codes, d, y, dy) != ggml_scaled_dot(codes, d, y, dy)).any()


@pytest.mark.parametrize("with_minima", [False, True])
def test_super_blocks_keep_eight_sums(with_minima):
    generator = np.random.default_rng(2)
    codes, y, (d, dy, dmin, _) = operands(2, 256)
    groups = generator.integers(-128, 128, (3, 32), dtype=np.int8)
    mins = generator.integers(0, 64, (3, 16), dtype=np.uint8)
    sums = generator.integers(-2000, 2000, (3, 32), dtype=np.int16)
    minima = (dmin, mins, sums) if with_minima else None
    ours = ggml_super_dot(codes, d, groups, y, dy, minima=minima)
    for row in range(3):
        total, lanes = F(0), [F(0)] * 8
        for b in range(2):
            exact = [0] * 8
            for k in range(256):
                at = 256 * b + k
                exact[k % 8] += int(groups[row, at // 16]) * int(codes[row, at]) * int(y[row, at])
            scale = d[row, b] * dy[row, b]
            lanes = [lane + scale * F(e) for lane, e in zip(lanes, exact, strict=True)]
            if with_minima:
                least = sum(
                    int(mins[row, 8 * b + j // 2]) * int(sums[row, 16 * b + j]) for j in range(16)
                )
                total = total - (dmin[row, b] * dy[row, b]) * F(least)
        for lane in lanes:
            total = total + lane
        assert ours[row] == total


def test_shapes_that_do_not_agree_are_refused():
    with pytest.raises(SchemeError, match="in 3 groups"):
        block_partials(np.zeros((1, 32), np.int8), np.zeros((1, 32), np.int8), 3)
    with pytest.raises(SchemeError, match="equal shapes"):
        block_partials(np.zeros((1, 32), np.int8), np.zeros((1, 64), np.int8), 1)
