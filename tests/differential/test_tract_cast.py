"""tract's cast to an affine 8-bit type, which adds the zero point before it rounds."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "tract_cast_worker.py"


def test_codes_are_those_of_tract_s_cast(oracle, tmp_path, compared):
    drawn = np.concatenate([x.reshape(-1, 4096) for _, x in weights(1920, finite=True)])
    x = drawn[(np.abs(drawn).max(axis=1) > 1e-3) & (np.abs(drawn).max(axis=1) < 1e6)]
    # Multiples of half a scale that is a power of two: ties, under an odd zero point.
    ties = np.tile(np.arange(-101, 411, dtype=np.float32) / 2, 8)
    ties[ties > 204] = 204
    ties[0], ties[-1] = -51, 204
    x = np.concatenate([x, ties[None]])
    name = "t2n/quint8[zero=tract]"
    tensors = [refquant.quantize(row, name) for row in x]
    scale = np.array([t.planes["scales"].reshape(-1).view("<f4")[0] for t in tensors])
    zero = np.array([t.planes["zero_points"].reshape(-1)[0] for t in tensors])
    assert (scale[-1], zero[-1]) == (1, 51)
    np.savez(tmp_path / "request.npz", x=x, scale=scale, zero=zero)
    command = [oracle("tract"), WORKER, tmp_path / "request.npz", tmp_path / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(tmp_path / "answer.npz") as found:
        theirs = found["values"]
    ours = np.stack([tensor.dequantize() for tensor in tensors])
    different = int((ours != theirs).sum())
    # Values are what is compared: codes, and what is read from them.
    for what in ("encode", "decode"):
        compared("t2n/quint8", "tract 0.23.9", what, ours.size, different)
    assert not different
    after = refquant.quantize(x[-1], "t2n/quint8[zero=after]").dequantize()
    assert (after != theirs[-1]).any()
