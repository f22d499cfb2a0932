"""HQQ's groups against the package: codes, scales, zero points and values."""

import numpy as np
import pytest

import refquant
from tests.decisions import aimed
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "hqq 0.2.8"
POINTS = [
    (bits, group, zero)
    for bits in (1, 2, 3, 4, 8)
    for group in (16, 64, 128)
    for zero in ("real", "rounded")
]
PARTS = {"scale": "s", "zero": "z"}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("hqq"), "hqq_worker.py", tmp_path_factory.mktemp("hqq")) as process:
        yield process


@pytest.mark.parametrize(("bits", "group", "zero"), POINTS)
def test_codes_parameters_and_values(bits, group, zero, ask, compared):
    name = f"hqq/affine[bits={bits},group={group},zero={zero}]"
    x = aimed(name)
    theirs = ask(x=x, bits=bits, group=group, zero=zero)
    tensor = refquant.quantize(x, name)
    parts = {part: (field_numbers(tensor, field), theirs[part]) for part, field in PARTS.items()}
    # Which of 0.0 and -0.0 is the least of a group is the processor's choice.
    zeros = (parts["zero"][0].reshape(-1) == 0) & (theirs["zero"].reshape(-1) == 0)
    parts["zero"] = (*parts["zero"], zeros)
    compared.encoded(
        name, PACKAGE, x.size, {"q": (field_numbers(tensor, "q"), theirs["q"]), **parts}
    )
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize(("bits", "group", "zero"), POINTS)
def test_halves_are_the_package_s_numbers_rounded(bits, group, zero, ask):
    x = every_distribution(blocks=320)
    theirs = ask(x=x, bits=bits, group=group, zero=zero)
    name = f"hqq/affine[bits={bits},group={group},zero={zero},parameters=f16]"
    tensor = refquant.quantize(x, name)
    for part, plane in (("scale", "scales"), ("zero", "zeros")):
        with np.errstate(over="ignore"):
            rounded = theirs[part].astype(np.float16).reshape(-1)
        half = tensor.planes[plane].view("<f2").reshape(-1)
        assert np.array_equal(half, rounded, equal_nan=True)


@pytest.mark.parametrize(("bits", "group", "zero"), [p for p in POINTS if p[2] == "real"])
@pytest.mark.parametrize("parameters", ["f32", "f16"])
def test_any_bytes(bits, group, zero, parameters, ask, compared):
    name = f"hqq/affine[bits={bits},group={group},parameters={parameters}]"
    tensor = any_tensor(name)
    codes = field_numbers(tensor, "q").astype(np.uint8)
    parts = {part: field_numbers(tensor, field).reshape(-1, 1) for part, field in PARTS.items()}
    theirs = ask(bits=bits, group=group, codes=codes, **parts)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])
