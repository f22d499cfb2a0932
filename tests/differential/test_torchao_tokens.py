"""Torchao's tokens against torchao: codes, scales, zero points and values, bit for bit."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant import arithmetic
from tests.activation_rows import extreme_rows, rows

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "torchao_tokens_worker.py"
FLOORS = {"eps": 2.0**-23, "tiny": 2.0**-126}


def ask(python, folder, **request):
    question, answer = folder / "request.npz", folder / "answer.npz"
    np.savez(question, **request)
    subprocess.run([python, WORKER, question, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        return dict(found)


def test_tokens(oracle, tmp_path):
    x = np.concatenate([rows(64), extreme_rows(64)])
    theirs = ask(oracle("torchao"), tmp_path, x=x)
    for name, floor in FLOORS.items():
        ours = arithmetic.torchao_per_token(x, least_scale=floor)
        assert np.array_equal(ours.scale, theirs[f"scale_{name}"])
        assert np.array_equal(ours.zero_point, theirs[f"zero_point_{name}"])
        assert np.array_equal(ours.codes, theirs[f"codes_{name}"])
        with np.errstate(invalid="ignore"):
            values = ours.dequantize()
        assert np.array_equal(values, theirs[f"values_{name}"], equal_nan=True)


def test_8da4w_layers(oracle, tmp_path):
    x, width = rows(64), 64
    weights = np.random.default_rng(2).normal(size=(16, width)).astype(np.float32)
    theirs = ask(oracle("torchao"), tmp_path, x=x, weights=weights, group=32)
    scale = np.repeat(theirs["weight_scale"].astype(np.float32), 32, axis=1)
    values = theirs["weight_codes"] * scale
    quantized = arithmetic.torchao_per_token(x)
    ours = arithmetic.torchao_layer(quantized, values, np.zeros(16, np.float32))
    sizes = np.abs(quantized.dequantize()).astype(float) @ np.abs(values).astype(float).T
    roundings = (width + 1) * 2.0**-24
    assert (np.abs(ours - theirs["output"]) <= roundings / (1 - roundings) * sizes).all()
    assert (np.abs(ours) > 0).any()
