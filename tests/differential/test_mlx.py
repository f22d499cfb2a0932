"""MLX's formats against MLX on the CPU: words, scales, biases and values."""

from contextlib import ExitStack

import ml_dtypes
import numpy as np
import pytest

import refquant
from tests.decisions import aimed
from tests.tensor_parts import any_tensor, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGES = {"mlx": "mlx 0.32.4", "mlx_0_32_0": "mlx 0.32.0"}
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
AFFINE = [
    (bits, group, dtype)
    for bits in (2, 3, 4, 5, 6, 8)
    for group in (32, 64, 128)
    for dtype in DTYPES
]
BLOCKS = {"mxfp4": 32, "mxfp8": 32, "nvfp4": 16}
RULES = {"mlx": "ceil", "mlx_0_32_0": "round"}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    """`ask("mlx", ...)`: each version of MLX has a process of its own."""
    with ExitStack() as stack:
        known = {}

        def version(name, **request):
            if name not in known:
                process = answering(oracle(name), "mlx_worker.py", tmp_path_factory.mktemp(name))
                known[name] = stack.enter_context(process)
            return known[name](**request)

        yield version


def affine_values(tensor, dtype, group):
    """Our values; in half precision MLX rounds the product and the sum to the weights' type."""
    if dtype == "f32":
        return tensor.dequantize()
    share = (np.repeat(field_numbers(tensor, name), group, axis=1) for name in "sb")
    with np.errstate(all="ignore"):
        scale, bias = (part.astype(DTYPES[dtype]) for part in share)
        codes = field_numbers(tensor, "q").astype(DTYPES[dtype])
        return (codes * scale + bias).astype(np.float32)


def words(tensor):
    return tensor.planes["codes"].reshape(tensor.shape[0], -1).view("<u4")


def wide(array, dtype):
    return array.view(DTYPES[dtype]).astype(np.float32)


@pytest.mark.parametrize(("bits", "group", "dtype"), AFFINE)
def test_affine(bits, group, dtype, ask, compared):
    name = f"mlx/affine[bits={bits},group={group},dtype={dtype}]"
    x = aimed(name, dtype=dtype)
    theirs = ask("mlx", x=x, bits=bits, group=group, dtype=dtype)
    tensor = refquant.quantize(x, name)
    parts = {
        "words": (words(tensor), theirs["codes"]),
        "scales": (field_numbers(tensor, "s"), wide(theirs["scales"], dtype)),
        "biases": (field_numbers(tensor, "b"), wide(theirs["biases"], dtype)),
    }
    compared.encoded(name, PACKAGES["mlx"], x.size, parts)
    values = affine_values(tensor, dtype, group)
    compared.decoded(name, PACKAGES["mlx"], values, wide(theirs["values"], dtype))


@pytest.mark.parametrize(("bits", "group", "dtype"), AFFINE)
def test_any_bytes_of_affine(bits, group, dtype, ask, compared):
    name = f"mlx/affine[bits={bits},group={group},dtype={dtype}]"
    tensor = any_tensor(name)
    with np.errstate(invalid="ignore"):
        given = {
            part: field_numbers(tensor, field).astype(DTYPES[dtype])
            for part, field in (("scales", "s"), ("biases", "b"))
        }
    given = {part: array.view("u2") if dtype != "f32" else array for part, array in given.items()}
    theirs = ask("mlx", codes=words(tensor), bits=bits, group=group, dtype=dtype, **given)
    values = affine_values(tensor, dtype, group)
    compared.decoded(name, PACKAGES["mlx"], values, wide(theirs["values"], dtype))


@pytest.mark.parametrize("version", RULES)
@pytest.mark.parametrize("mode", BLOCKS)
def test_block_floats(mode, version, ask, compared):
    name = "mlx/nvfp4" if mode == "nvfp4" else f"mlx/{mode}[scale={RULES[version]}]"
    x = aimed(name)
    theirs = ask(version, x=x, mode=mode)
    tensor = refquant.quantize(x, name)
    scales = tensor.planes["scales"][..., 0]
    parts = {"words": (words(tensor), theirs["codes"]), "scales": (scales, theirs["scales"])}
    compared.encoded(name, PACKAGES[version], x.size, parts)


@pytest.mark.parametrize("mode", BLOCKS)
def test_any_bytes_of_block_floats(mode, ask, compared):
    tensor = any_tensor(f"mlx/{mode}")
    scales = tensor.planes["scales"][..., 0]
    theirs = ask("mlx", codes=words(tensor), scales=scales, mode=mode)["values"]
    # A power of two of code 255 is infinite in MLX and NaN in the specification, and here.
    infinite = np.repeat(scales == 255, BLOCKS[mode], axis=1) & (mode != "nvfp4")
    values = tensor.dequantize()
    assert np.isnan(values[infinite]).all()
    compared.decoded(tensor.scheme.name, PACKAGES["mlx"], values, theirs, known=infinite)
