"""quanto's weight types against optimum-quanto: bytes, scales, shifts and values."""

import numpy as np
import pytest

import refquant
from tests.decisions import aimed, decisions
from tests.tensor_parts import any_tensor, every_distribution, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "optimum-quanto 0.2.7"
DTYPES = ("f32", "bf16", "f16")
KINDS = ("qint8", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2")
WORDS = {"f32": np.float32, "bf16": np.uint16, "f16": np.uint16}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quanto")
    with answering(oracle("quanto"), "quanto_worker.py", folder) as process:
        yield process


def words(tensor, plane, dtype):
    return np.ascontiguousarray(tensor.planes[plane]).reshape(-1).view(WORDS[dtype])


def in_dtype(x, dtype):
    """Weights as the package gets them."""
    if dtype == "f32":
        return x
    return refquant.quantize(x, "bf16" if dtype == "bf16" else "f16").dequantize()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_eight_bits(kind, dtype, ask, compared):
    name = f"quanto/{kind}[dtype={dtype}]"
    x = aimed(name, dtype=dtype)
    theirs = ask(x=x, kind=kind, dtype=dtype, share="channel")
    tensor = refquant.quantize(x, name)
    codes, data = tensor.planes["codes"][..., 0], theirs["data"]
    # 0 / 0 and infinity over infinity: quanto's codes are the processor's conversion of NaN.
    y = in_dtype(x, dtype)
    with np.errstate(all="ignore"):
        unknown = np.isnan(y / field_numbers(tensor, "s"))
    assert unknown.mean() < 0.2
    parts = {
        "codes": (codes, data, unknown),
        "scales": (words(tensor, "scales", dtype), theirs["scale"].reshape(-1).view(WORDS[dtype])),
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"], known=unknown)


@pytest.mark.parametrize("kind", KINDS)
def test_one_scale_for_a_tensor(kind, ask, compared):
    name = f"quanto/{kind}[tensor]"
    rows = every_distribution()
    near = decisions(name, (32, 4, 256))
    for x in (rows[:64], rows[-64:], np.abs(rows[100:164]), *near):
        theirs = ask(x=x, kind=kind, dtype="f32", share="tensor")
        tensor = refquant.quantize(x, name)
        with np.errstate(all="ignore"):
            known = np.isnan(x / field_numbers(tensor, "s"))
        parts = {
            "codes": (tensor.planes["codes"][..., 0], theirs["data"], known),
            "scales": (words(tensor, "scales", "f32"), theirs["scale"].reshape(-1)),
        }
        compared.encoded(name, PACKAGE, x.size, parts)
        compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"], known=known)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_of_eight_bits(kind, dtype, ask, compared):
    name = f"quanto/{kind}[dtype={dtype}]"
    tensor = any_tensor(name)
    theirs = ask(
        kind=kind,
        dtype=dtype,
        data=tensor.planes["codes"][..., 0].view(np.int8 if kind == "qint8" else np.uint8),
        scale=tensor.planes["scales"].reshape(-1).view(WORDS[dtype]).reshape(-1, 1),
        shape=tensor.shape,
    )
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", ["real", "integer"])
@pytest.mark.parametrize(("bits", "group"), [(4, 128), (4, 32), (2, 128), (2, 64)])
def test_groups(bits, group, shift, dtype, ask, compared):
    name = f"quanto/qint{bits}[group={group},shift={shift},packing=package,dtype={dtype}]"
    x = aimed(name.replace("packing=package,", ""), dtype=dtype)
    settings = {"kind": f"qint{bits}", "dtype": dtype, "group": group}
    theirs = ask(x=x, integer=shift == "integer", **settings)
    tensor = refquant.quantize(x, name)
    y = in_dtype(x, dtype).reshape(-1, group)
    # Which of 0.0 and -0.0 is the least of a group is the processor's choice.
    zeros = (y.view(np.uint32) == 0).any(axis=1) & (y.view(np.uint32) == 1 << 31).any(axis=1)
    zeros &= y.min(axis=1) == 0
    shifts = np.uint8 if shift == "integer" else WORDS[dtype]
    mine = np.ascontiguousarray(tensor.planes["shifts"]).reshape(-1).view(shifts)
    parts = {
        "codes": (tensor.planes["codes"].reshape(-1), theirs["data"].reshape(-1)),
        "scales": (
            words(tensor, "scales", dtype),
            theirs["scale"].reshape(-1).view(WORDS[dtype]),
            zeros,
        ),
        "shifts": (mine, theirs["shift"].reshape(-1).view(shifts), zeros),
    }
    compared.encoded(name, PACKAGE, x.size, parts)
    compared.decoded(
        name,
        PACKAGE,
        tensor.dequantize(),
        theirs["values"],
        known=np.repeat(zeros, group).reshape(x.shape),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 2])
def test_any_bytes_of_groups(bits, dtype, ask, compared):
    name = f"quanto/qint{bits}[group=128,packing=package,dtype={dtype}]"
    inner = any_tensor(f"quanto/qint{bits}[group=128,dtype={dtype}]")
    planes = {
        "codes": inner.planes["codes"].reshape(-1, 128, 1, 1),
        "scales": inner.planes["scales"].reshape(-1, inner.planes["scales"].shape[-1]),
        "shifts": inner.planes["shifts"].reshape(-1, inner.planes["shifts"].shape[-1]),
    }
    tensor = refquant.QuantizedTensor(refquant.scheme(name), inner.shape, planes)
    numbers = {
        part: np.ascontiguousarray(planes[plane]).reshape(-1).view(WORDS[dtype]).reshape(-1, 1)
        for part, plane in (("scale", "scales"), ("shift", "shifts"))
    }
    theirs = ask(
        kind=f"qint{bits}",
        dtype=dtype,
        group=128,
        data=planes["codes"].reshape(-1, 128),
        shape=inner.shape,
        **numbers,
    )
    compared.decoded(name, PACKAGE, tensor.dequantize(), theirs["values"])
