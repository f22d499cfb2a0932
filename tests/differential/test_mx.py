"""The MX formats against torchao: scales, elements and values for every rule."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKERS = Path(__file__).parent / "workers"
FORMATS = {
    "mxfp8_e4m3": 448.0,
    "mxfp8_e5m2": 57344.0,
    "mxfp6_e2m3": 7.5,
    "mxfp6_e3m2": 28.0,
    "mxfp4": 6.0,
}


def every_distribution():
    """All finite distributions below each other, as rows of 1024."""
    return np.concatenate([x.reshape(-1, 1024) for _, x in weights(320, finite=True)])


@pytest.fixture(scope="module")
def torchao(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mx")
    x = every_distribution()
    np.savez(folder / "request.npz", x=x)
    command = [oracle("torchao"), WORKERS / "mx_worker.py", folder / "request.npz"]
    subprocess.run([*command, folder / "answer.npz"], check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


def field(tensor, name):
    declared = tensor.layout.fields[name]
    return field_codes(tensor.layout, name, tensor.planes[declared.plane], tensor.shape)


@pytest.mark.parametrize("rule", ["floor", "ceil", "even", "rceil"])
@pytest.mark.parametrize("name", FORMATS)
def test_torchao(name, rule, torchao, compared):
    x, theirs = torchao
    tensor = refquant.quantize(x, f"mx/{name}[scale={rule},least=torchao]")
    same = field(tensor, "s") == theirs[f"{name} {rule} scale"]
    if rule == "rceil":
        # Its logarithm rounds to an integer just above a power of two: the scale stays at half.
        largest = np.abs(x.reshape(*same.shape, 32)).max(axis=2)
        quotient = (largest / np.float32(FORMATS[name]))[~same]
        fraction, _ = np.frexp(quotient)
        assert (fraction < 0.5 * (1 + 2.0**-16)).all()
        assert same.mean() > 0.99
    else:
        assert same.all()
    spread = np.repeat(same, 32, axis=1)
    codes = np.where(spread, theirs[f"{name} {rule} codes"], field(tensor, "q"))
    compared(f"mx/{name}", "torchao 0.18.0", "encode", codes.size, (~spread).sum())
    assert np.array_equal(field(tensor, "q"), codes)
    values = np.where(spread, theirs[f"{name} {rule} values"], tensor.dequantize())
    assert np.array_equal(tensor.dequantize(), values)


@pytest.mark.parametrize("convention", ["modelopt", "torchao"])
def test_nvfp4(convention, oracle, tmp_path):
    tensors = {name: x.reshape(-1, 1024) for name, x in weights(320, finite=True)}
    np.savez(tmp_path / "request.npz", **tensors)
    command = [oracle(convention), WORKERS / "nvfp4_worker.py", convention]
    command += [tmp_path / "request.npz", tmp_path / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(tmp_path / "answer.npz") as found:
        theirs = dict(found)
    for name, x in tensors.items():
        tensor = refquant.quantize(x, f"mx/nvfp4[convention={convention}]")
        for plane in ("tensor_scale", "scales"):
            bits = theirs[f"{name} {plane}"].reshape(-1).view(np.uint8)
            assert np.array_equal(tensor.planes[plane].reshape(-1), bits), (name, plane)
        packed = theirs[f"{name} codes"].reshape(-1)
        codes = np.stack([packed & 15, packed >> 4], axis=1).reshape(x.shape)
        # In torchao zeros of tensors too small for a finite reciprocal are NaN, of any code.
        known = (x != 0) | (np.abs(x).max() > 1e-30)
        assert np.array_equal(field(tensor, "q")[known], codes[known]), name
        assert np.array_equal(tensor.dequantize()[known], theirs[f"{name} values"][known]), name
