"""One quantization gives one file: whatever the hash seed, the threads, NumPy or the processor."""

import json
import os
import subprocess
import sys
from functools import cache
from hashlib import sha256

import numpy as np
import pytest

from tests import rq_quantizer
from tests.conftest import REPOSITORY

NO_WIDE_VECTORS = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_ICL"
ENVIRONMENTS = {
    "other seed, more threads": (3, {"PYTHONHASHSEED": "12345", "OPENBLAS_NUM_THREADS": "4"}),
    "any seed, two threads": (2, {"PYTHONHASHSEED": "random", "OPENBLAS_NUM_THREADS": "2"}),
    # NumPy ignores names that it does not know, and warns about features that are always there.
    "narrow vectors": (1, {"NPY_DISABLE_CPU_FEATURES": NO_WIDE_VECTORS}),
}


def environment(**changes):
    usual = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return {**os.environ, **usual, **changes}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Heavy tails in several chunks; made here, for generators may change with NumPy."""
    rng = np.random.default_rng(20_261_121)
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    inputs = rng.standard_normal((2048, 512)) * np.linspace(0.1, 3, 512)
    np.savez(
        path,
        hessian=inputs.T @ inputs,
        large=rng.standard_t(4, (1040, 1024)).astype(np.float32),
        small=rng.standard_normal((16, 256)).astype(np.float32),
        importance=rng.gamma(1, 1, 1024).astype(np.float32),
    )
    return path


@pytest.fixture(scope="module")
def quantized(weights, tmp_path_factory):
    """`quantized(python, threads, **changes)` is what `rq_quantizer.py` prints."""

    @cache
    def run(python, threads, changes):
        out = tmp_path_factory.mktemp("out") / "out.rq"
        program = REPOSITORY / "tests" / "rq_quantizer.py"
        done = subprocess.run(
            [python, program, weights, str(threads), out],
            env=environment(**dict(changes)),
            capture_output=True,
            text=True,
            check=True,
        )
        out.unlink()
        return json.loads(done.stdout)

    return lambda python, threads, **changes: run(python, threads, tuple(changes.items()))


def assert_same_digests(found, wanted):
    assert found.keys() == wanted.keys()
    assert not [name for name in wanted if found[name] != wanted[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_same_bytes_in_other_environments(name, quantized):
    threads, changes = ENVIRONMENTS[name]
    wanted = quantized(sys.executable, 1)["digests"]
    tried = (*rq_quantizer.LARGE, *rq_quantizer.WEIGHTED, *rq_quantizer.LEARNED)
    assert len(wanted) == len(rq_quantizer.names()) + len(tried) + 1
    assert_same_digests(quantized(sys.executable, threads, **changes)["digests"], wanted)


@pytest.mark.differential
def test_same_bytes_with_the_oldest_numpy(oracle, quantized):
    found = quantized(oracle("numpy_2_1"), 2, PYTHONHASHSEED="7")
    assert found["numpy"] == "2.1.0"
    assert_same_digests(found["digests"], quantized(sys.executable, 1)["digests"])


def command_line_file(python, folder, name, **changes):
    """The digest of the embedded model as `refquant quantize` writes it."""
    out = folder / f"{name}.rq"
    command = [python, "-m", "refquant", "quantize", "demo", "-o", out, "--scheme", "q4_k"]
    subprocess.run(command, env=environment(**changes), capture_output=True, check=True)
    return sha256(out.read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_command_writes_the_same_bytes(tmp_path):
    found = {
        command_line_file(sys.executable, tmp_path, seed, PYTHONHASHSEED=seed, **threads)
        for seed, threads in (("0", {}), ("99", {"OPENBLAS_NUM_THREADS": "3"}), ("random", {}))
    }
    assert len(found) == 1


@pytest.mark.differential
def test_the_command_writes_the_same_bytes_with_the_oldest_numpy(oracle, tmp_path):
    old = command_line_file(oracle("numpy_2_1"), tmp_path, "old")
    assert old == command_line_file(sys.executable, tmp_path, "new")
