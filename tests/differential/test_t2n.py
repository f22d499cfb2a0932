"""torch-to-nnef's Q40 bytes and torch's 8-bit affine tensors, bit for bit."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, numbers
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "t2n_worker.py"

ROWS = 4


@pytest.fixture(scope="module")
def compared(oracle, tmp_path_factory):
    """Weights of all distributions, and what the packages make of them: one request."""
    folder = tmp_path_factory.mktemp("t2n")
    x = np.concatenate([part for _, part in weights(640, finite=True)])
    np.savez(folder / "request.npz", x=x)
    subprocess.run(
        [oracle("t2n"), WORKER, folder / "request.npz", folder / "answer.npz"],
        check=True,
        capture_output=True,
    )
    with np.load(folder / "answer.npz") as answer:
        return x, dict(answer)


@pytest.mark.parametrize("name", ["q40", "q40_legacy"])
def test_q40_bytes_and_values(name, compared):
    x, theirs = compared
    tensor = refquant.quantize(x, f"t2n/{name}")
    assert np.array_equal(tensor.planes["blocks"].reshape(-1), theirs[name])
    same = tensor.dequantize().view(np.uint32) == theirs["q40_values"].view(np.uint32)
    assert (same | np.isnan(theirs["q40_values"])).all()


@pytest.mark.parametrize("name", ["quint8", "qint8"])
def test_affine_codes_parameters_and_values(name, compared):
    x, theirs = compared
    for k, part in enumerate(x.reshape(-1, ROWS, x.shape[1])):
        tensor = refquant.quantize(part, f"t2n/{name}")
        codes = {
            n: numbers(field_codes(tensor.layout, n, tensor.planes[f.plane], part.shape), f.element)
            for n, f in tensor.layout.fields.items()
        }
        assert np.array_equal(codes["q"], theirs[f"{name}_codes"][k])
        assert np.array_equal(codes["s"].ravel(), theirs[f"{name}_scales"][k].ravel())
        if "z" in codes:
            assert np.array_equal(codes["z"].ravel(), theirs[f"{name}_zeros"][k].ravel())
        assert np.array_equal(tensor.dequantize(), theirs[f"{name}_values"][k])
