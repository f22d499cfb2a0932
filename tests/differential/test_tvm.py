"""Requantization with one rounding against TVM, whose compiled `q_multiply_shift` rounds once.

TVM lets results beyond int32 wrap around, where the reference kernels built with single rounding
saturate; such accumulators are left out here, and `tests/test_arithmetic.py` has the ends.
"""

import numpy as np
import pytest

from refquant.arithmetic import FixedPoint, requantize_single_rounding
from tests.differential.test_gemmlowp import accumulators
from tests.worker_process import answering

pytestmark = pytest.mark.differential

LIMITS = np.iinfo(np.int32)
WIDTH = 1 << 14


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("tvm"), "tvm_worker.py", tmp_path_factory.mktemp("tvm")) as process:
        yield process


def rows(generator):
    """Fixed-point numbers, with accumulators on ties and beside them whose products fit int32."""
    multipliers = [1 << 30, (1 << 31) - 1, (1 << 30) + 1, 3 << 29, 5 << 28, 0x7FFF0000]
    multipliers += generator.integers(1 << 30, 1 << 31, 6).tolist()
    for multiplier in multipliers:
        for shift in range(-31, 8):
            by = FixedPoint(multiplier, shift)
            total = 31 - shift
            halves = np.arange(-64, 64) * 2 + 1
            exact = np.round(halves * 2.0 ** (total - 1) / multiplier)
            near = [exact + step for step in (-2, -1, 0, 1, 2)]
            x = np.concatenate([*near, accumulators(by, generator).astype(float)])
            most = int((2**31 - 1) * 2.0**total / multiplier)
            held = np.clip(x, max(-most + 1, LIMITS.min), min(most - 1, LIMITS.max))
            yield by, np.resize(held.astype(np.int32), WIDTH)


def test_one_rounding_is_tvm_s(ask):
    cases = list(rows(np.random.default_rng(32)))
    x = np.stack([row for _, row in cases])
    multiplier = [by.multiplier for by, _ in cases]
    theirs = ask(x=x, multiplier=multiplier, shift=[by.shift for by, _ in cases])["y"]
    for (by, row), found in zip(cases, theirs, strict=True):
        assert np.array_equal(requantize_single_rounding(row, by), found), by
    assert x.size > 7_000_000
