"""tract's own Q4_0 bytes, and the values that it reads from blocks of Q4_0 and Q8_1."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from tests.ggml_inputs import records, weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "tract_worker.py"


@pytest.fixture(scope="module")
def compared(oracle, tmp_path_factory):
    """Weights, blocks of either format (encoded, and any bytes), and what tract makes of them."""
    folder = tmp_path_factory.mktemp("tract")
    x = np.concatenate([part for _, part in weights(512, finite=True)])
    blocks = {}
    for name, size in (("q40", 18), ("q8_1", 36)):
        found = refquant.quantize(x, f"tract/{name}").planes["blocks"].copy()
        found[::2] = records(found[::2].size // size, size, (0,)).reshape(found[::2].shape)
        blocks[name] = found
    np.savez(folder / "request.npz", x=x, **blocks)
    subprocess.run(
        [oracle("tract"), WORKER, folder / "request.npz", folder / "answer.npz"],
        check=True,
        capture_output=True,
    )
    with np.load(folder / "answer.npz") as answer:
        return x, blocks, dict(answer)


def test_q40_bytes(compared):
    x, _, theirs = compared
    assert np.array_equal(refquant.quantize(x, "tract/q40").planes["blocks"].ravel(), theirs["q40"])


@pytest.mark.parametrize("name", ["q40", "q8_1"])
def test_values_of_blocks(name, compared):
    x, blocks, theirs = compared
    tensor = refquant.QuantizedTensor.from_planes(
        f"tract/{name}", x.shape, {"blocks": blocks[name]}
    )
    mine, values = tensor.dequantize(), theirs[f"{name}_values"]
    same = mine.view(np.uint32) == values.view(np.uint32)
    assert (same | (np.isnan(mine) & np.isnan(values))).all()
