"""bitsandbytes' formats against the package on the CPU: bytes, absmax and values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "bnb_worker.py"


@pytest.fixture(scope="module")
def bitsandbytes(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bnb")
    x = np.concatenate([x.reshape(-1, 4096) for _, x in weights(320, finite=True)])
    np.savez(folder / "request.npz", x=x)
    command = [oracle("bnb"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        *((kind, block) for kind in ("nf4", "fp4") for block in (32, 64, 128, 4096)),
        *(("dynamic8", block) for block in (64, 256, 4096)),
    ],
)
def test_bytes_absmax_and_values(kind, block, bitsandbytes):
    x, theirs = bitsandbytes
    tensor = refquant.quantize(x, f"bnb/{kind}[block={block}]")
    assert tensor.planes["absmax"].tobytes() == theirs[f"{kind} {block} absmax"].tobytes()
    assert np.array_equal(tensor.planes["codes"].reshape(-1), theirs[f"{kind} {block} codes"])
    values = theirs[f"{kind} {block} values"].reshape(x.shape)
    assert np.array_equal(tensor.dequantize(), values)
