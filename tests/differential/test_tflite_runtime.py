"""Requantization against TensorFlow Lite 2.14, whose kernels multiply by fixed-point numbers.

Accumulators arrive as biases of a fully connected layer whose input is all zero. The reference
kernels round twice with int8 activations, and have the 16-bit multiplier with int16 ones.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant import arithmetic
from tests.worker_process import answering

pytestmark = pytest.mark.differential

MAKER = Path(__file__).parent / "workers" / "litert_worker.py"
SCALES = (0.5, 0.25, 2.0**-6, 0.3, 3e-3, 1.7e-5, 1.5, 0.75, 1 / 3, 1e-7, 100.0)


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    with answering(oracle("tflite"), "tflite_worker.py", folder) as process:
        yield process


def made(python, folder, dtype, scale, wanted):
    """A model whose outputs are what its accumulators become, and its input."""
    x, question, answer = np.zeros((1, 8), dtype), folder / "request.npz", folder / "answer.npz"
    np.savez(
        question,
        x=x,
        codes=np.ones((len(wanted), 8), np.int8),
        bits=8,
        scale=np.full(len(wanted), scale, np.float32),
        bias=wanted,
        input=np.array((1.0, 0)),
        output=np.array((1.0, 0)),
        version=4,
    )
    subprocess.run([python, MAKER, question, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        return {"model": found["model"], "x": x}


def accumulators(scale, dtype):
    """Small numbers, ties with their neighbours, and random ones within the output's reach."""
    generator, top = np.random.default_rng(33), np.iinfo(dtype).max
    reach = int(top * 1.2 / scale)
    halves = np.rint((np.arange(-200, 200) + 0.5) / scale)
    near = np.concatenate([halves + step for step in (-1, 0, 1)])
    every = np.concatenate([np.arange(-300, 301), near, generator.integers(-reach, reach, 2400)])
    limit = 2**31 - 1 if dtype is np.int8 else 2**47 - 1
    kind = np.int32 if dtype is np.int8 else np.int64
    return np.clip(every, -limit, limit).astype(kind)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_fixed_point_requantization(dtype, scale, ask, oracle, tmp_path):
    real = float(np.float32(scale))
    wanted = accumulators(real, dtype)
    theirs = ask(**made(oracle("aeq"), tmp_path, dtype, scale, wanted))
    by = arithmetic.fixed_point(real)
    if dtype is np.int16:
        codes = arithmetic.requantize_int64(wanted, by)
    else:
        codes = arithmetic.requantize_double_rounding(wanted, by)
    ours = arithmetic.saturating_cast(codes, dtype)
    assert np.array_equal(ours, theirs["y"][0])


def test_other_roundings_differ_on_these_accumulators():
    for dtype, right in (
        (np.int8, arithmetic.requantize_double_rounding),
        (np.int16, arithmetic.requantize_int64),
    ):
        different = 0
        for scale in SCALES:
            real = float(np.float32(scale))
            wanted = accumulators(real, dtype)
            codes = arithmetic.saturating_cast(right(wanted, arithmetic.fixed_point(real)), dtype)
            other = arithmetic.saturating_cast(arithmetic.requantize_real(wanted, real), dtype)
            different += int((codes != other).sum())
        assert different > 100, dtype
