"""HQQ's groups against the package: codes, scales, zero points and values."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "hqq_worker.py"
NAMES = [
    f"{bits} {group} {zero}"
    for bits in (1, 2, 3, 4, 8)
    for group in (16, 64, 128)
    for zero in ("real", "rounded")
]


@pytest.fixture(scope="module")
def hqq(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hqq")
    x = np.concatenate([x.reshape(-1, 1024) for _, x in weights(320, finite=True)])
    np.savez(folder / "request.npz", x=x, names=NAMES)
    command = [oracle("hqq"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


@pytest.mark.parametrize("name", NAMES)
def test_codes_parameters_and_values(name, hqq):
    x, theirs = hqq
    bits, group, zero = name.split()
    knobs = f"bits={bits},group={group},zero={zero}"
    tensor = refquant.quantize(x, f"hqq/affine[{knobs}]")
    codes = field_codes(tensor.layout, "q", tensor.planes["codes"], tensor.shape)
    assert np.array_equal(codes, theirs[f"{name} codes"])
    for plane, part in (("scales", "scale"), ("zeros", "zero")):
        found = tensor.planes[plane].view("<f4").reshape(-1)
        assert np.array_equal(found, theirs[f"{name} {part}"].reshape(-1), equal_nan=True)
        half = refquant.quantize(x, f"hqq/affine[{knobs},parameters=f16]").planes[plane]
        with np.errstate(over="ignore"):
            rounded = theirs[f"{name} {part}"].astype(np.float16).reshape(-1)
        assert np.array_equal(half.view("<f2").reshape(-1), rounded, equal_nan=True)
    assert np.array_equal(tensor.dequantize(), theirs[f"{name} values"], equal_nan=True)
