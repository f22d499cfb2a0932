"""Requantization with two roundings against gemmlowp's fixedpoint.h, from which LiteRT took it.

The header comes with Debian's `libgemmlowp-dev` (0.0~git20211220.e844ffd): installed, or unpacked
into `gemmlowp` among the oracles with `apt-get download libgemmlowp-dev` and `dpkg-deb -x`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant.arithmetic import FixedPoint, requantize_double_rounding

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "gemmlowp_worker.cc"
LIMITS = np.iinfo(np.int32)


@pytest.fixture(scope="module")
def gemmlowp(tmp_path_factory):
    """What asks a compiled program for the products of accumulators with one multiplier."""
    unpacked = Path(os.environ.get("REFQUANT_ORACLES", "")) / "gemmlowp"
    roots = [unpacked / "usr" / "include", Path("/usr/include")]
    found = [root for root in roots if (root / "gemmlowp/fixedpoint/fixedpoint.h").is_file()]
    compiler = shutil.which("c++")
    if not found or not compiler:
        pytest.skip("needs a C++ compiler and the header of Debian's libgemmlowp-dev")
    program = tmp_path_factory.mktemp("gemmlowp") / "worker"
    subprocess.run([compiler, "-O1", "-I", found[0], WORKER, "-o", program], check=True)

    def products(accumulators, by):
        triples = np.empty((len(accumulators), 3), "<i4")
        triples[:, 0], triples[:, 1], triples[:, 2] = accumulators, by.multiplier, by.shift
        done = subprocess.run([program], input=triples.tobytes(), capture_output=True, check=True)
        return np.frombuffer(done.stdout, "<i4")

    return products


def accumulators(by, generator):
    """Random numbers of every size, ties of both roundings with their neighbours, and the ends."""
    right = max(-by.shift, 0)
    halves = np.arange(-40, 40) * 2 + 1
    ties = np.round(halves * 2.0 ** (right - 1) * 2.0**31 / by.multiplier)
    first = np.round(halves * 2.0**30 / (by.multiplier & -by.multiplier))
    sizes = np.ldexp(generator.uniform(-1, 1, 1 << 14), generator.integers(0, 32, 1 << 14))
    near = [np.concatenate([ties, first]) + step for step in (-2, -1, 0, 1, 2)]
    ends = [LIMITS.min, LIMITS.min + 1, -1, 0, 1, LIMITS.max - 1, LIMITS.max]
    every = np.concatenate([*near, np.trunc(sizes), ends])
    most = (1 << (31 - max(by.shift, 0))) - 1
    return np.unique(np.clip(every, -most - 1, most)).astype(np.int32)


def test_two_roundings_are_gemmlowp_s(gemmlowp):
    generator = np.random.default_rng(31)
    multipliers = [1 << 30, (1 << 31) - 1, (1 << 30) + 1, 3 << 29, 5 << 28, 0x7FFF0000]
    multipliers += generator.integers(1 << 30, 1 << 31, 6).tolist()
    compared = 0
    for multiplier in multipliers:
        for shift in range(-31, 8):
            by = FixedPoint(multiplier, shift)
            x = accumulators(by, generator)
            assert np.array_equal(requantize_double_rounding(x, by), gemmlowp(x, by)), by
            compared += len(x)
    assert compared > 2_000_000
