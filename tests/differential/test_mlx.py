"""MLX's formats against MLX on the CPU: words, scales, biases and values."""

import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import refquant
from refquant.layout import field_codes, numbers
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "mlx_worker.py"
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
AFFINE = [
    f"{bits} {group} {dtype}"
    for bits in (2, 3, 4, 5, 6, 8)
    for group in (32, 64, 128)
    for dtype in DTYPES
]
BLOCKS = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
RULES = {"mlx": "ceil", "mlx_0_32_0": "round"}


def request():
    """All finite distributions as rows of 1024, and random bytes to decode."""
    rng = np.random.default_rng(1)
    asked = {"x": np.concatenate([x.reshape(-1, 1024) for _, x in weights(320, finite=True)])}
    for mode, (bits, block) in BLOCKS.items():
        asked[f"{mode} words"] = rng.integers(0, 1 << 32, (256, 4 * bits), np.uint32)
        asked[f"{mode} scales"] = rng.integers(0, 256, (256, 128 // block), np.uint8)
    return asked


@pytest.fixture(scope="module")
def answers(oracle, tmp_path_factory):
    """What each version of MLX makes of the same request."""
    asked, found = request(), {}

    def ask(version, names):
        if version not in found:
            folder = tmp_path_factory.mktemp(version)
            np.savez(folder / "request.npz", names=names, **asked)
            command = [oracle(version), WORKER, folder / "request.npz", folder / "answer.npz"]
            subprocess.run(command, check=True, capture_output=True)
            with np.load(folder / "answer.npz") as answer:
                found[version] = dict(answer)
        return asked, found[version]

    return ask


def parameters(tensor, name):
    field = tensor.layout.fields[name]
    codes = field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
    return numbers(codes, field.element)


@pytest.mark.parametrize("name", AFFINE)
def test_affine(name, answers):
    asked, theirs = answers("mlx", [*AFFINE, *BLOCKS])
    bits, group, dtype = name.split()
    tensor = refquant.quantize(asked["x"], f"mlx/affine[bits={bits},group={group},dtype={dtype}]")
    rows = len(asked["x"])
    words = theirs[f"{name} codes"].view(np.uint8)
    assert np.array_equal(tensor.planes["codes"].reshape(rows, -1), words)
    scale, bias = (parameters(tensor, n) for n in "sb")
    for mine, part in ((scale, "scales"), (bias, "biases")):
        stored = theirs[f"{name} {part}"].view(DTYPES[dtype]).astype(np.float32)
        assert np.array_equal(mine, stored, equal_nan=True)
    values = theirs[f"{name} values"].view(DTYPES[dtype]).astype(np.float32)
    if dtype == "f32":
        assert np.array_equal(tensor.dequantize(), values)
        return
    # MLX computes in the dtype of the weights, so that the product and the sum are rounded to it.
    share = (np.repeat(p, int(group), axis=1) for p in (scale, bias))
    with np.errstate(all="ignore"):
        wide, offset = (p.astype(DTYPES[dtype]) for p in share)
        twice = (parameters(tensor, "q").astype(DTYPES[dtype]) * wide + offset).astype(np.float32)
    assert np.array_equal(twice, values, equal_nan=True)


@pytest.mark.parametrize("version", RULES)
@pytest.mark.parametrize("mode", BLOCKS)
def test_block_floats(mode, version, answers):
    asked, theirs = answers(version, [*AFFINE, *BLOCKS] if version == "mlx" else [*BLOCKS])
    name = "mlx/nvfp4" if mode == "nvfp4" else f"mlx/{mode}[scale={RULES[version]}]"
    tensor = refquant.quantize(asked["x"], name)
    rows = len(asked["x"])
    for plane in ("codes", "scales"):
        found = theirs[f"{mode} {plane}"].view(np.uint8)
        assert np.array_equal(tensor.planes[plane].reshape(rows, -1), found)


@pytest.mark.parametrize("mode", BLOCKS)
def test_any_bytes_of_block_floats(mode, answers):
    asked, theirs = answers("mlx", [*AFFINE, *BLOCKS])
    planes = {
        "codes": asked[f"{mode} words"].view(np.uint8).tobytes(),
        "scales": asked[f"{mode} scales"].tobytes(),
    }
    scheme = refquant.scheme(f"mlx/{mode}")
    values = refquant.QuantizedTensor.from_planes(scheme, (256, 128), planes).dequantize()
    # A power of two of code 255 is infinite in MLX and NaN in the specification, and here.
    infinite = np.repeat(asked[f"{mode} scales"] == 255, BLOCKS[mode][1], axis=1)
    infinite &= mode != "nvfp4"
    assert np.isnan(values[infinite]).all()
    assert np.array_equal(values[~infinite], theirs[f"{mode} decoded"][~infinite], equal_nan=True)
