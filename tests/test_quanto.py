"""quanto's weight types: the scalar oracle, the package's places of codes, groups of one value."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import quanto as oracle
from refquant.errors import SchemeError
from refquant.testing import assert_bits_equal
from tests.group_oracle import check_cases

DTYPES = ("f32", "bf16", "f16")
KINDS = ("qint8", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_input_as_the_scalar_oracle(kind, dtype):
    for share in ("channel", "tensor"):
        scheme = refquant.scheme(f"quanto/{kind}[{share},dtype={dtype}]")
        assert check_cases(scheme, partial(oracle.symmetric, kind=kind, dtype=dtype)) >= 12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", ["real", "integer"])
@pytest.mark.parametrize("bits", [4, 2])
def test_every_input_as_the_scalar_oracle_of_groups(bits, shift, dtype):
    scheme = refquant.scheme(f"quanto/qint{bits}[group=16,shift={shift},dtype={dtype}]")
    check = partial(oracle.shifted, bits=bits, shift=shift, dtype=dtype)
    assert check_cases(scheme, check) >= 12


@pytest.mark.parametrize("shift", ["real", "integer"])
def test_a_group_beyond_float16_on_one_side_has_a_positive_nan_for_its_scale(shift):
    x = np.repeat(np.float32([[70000], [-70000]]), 32, axis=1)
    planes = refquant.quantize(x, f"quanto/qint4[group=32,shift={shift},dtype=f16]").planes
    assert planes["scales"].view("<u2").reshape(-1).tolist() == [0x7E00, 0x7E00]
    assert not planes["codes"].any()


@pytest.mark.parametrize("shift", ["real", "integer"])
@pytest.mark.parametrize("bits", [4, 2])
def test_codes_stand_where_the_package_puts_them(bits, shift):
    x = np.random.default_rng(bits).normal(size=(6, 32)).astype(np.float32)
    name = f"quanto/qint{bits}[group=8,shift={shift}]"
    stream = refquant.quantize(x, name)
    package = refquant.quantize(x, f"{name[:-1]},packing=package]")
    packed = package.planes["codes"].reshape(-1, 8)
    for group, weights in enumerate(x.reshape(-1, 8).tolist()):
        found = oracle.shifted(weights, bits, shift, "f32")
        row, low = oracle.package_place(group, 24, bits)
        assert ((packed[row] >> low) & (1 << bits) - 1).tolist() == found["q"]
    for plane in ("scales", "shifts"):
        assert package.planes[plane].tobytes() == stream.planes[plane].tobytes()
    assert_bits_equal(package.dequantize(), stream.dequantize())


def test_groups_that_make_no_whole_bytes_are_refused():
    with pytest.raises(SchemeError, match="3 rows of groups, expected a multiple of 2"):
        refquant.quantize(np.ones((3, 8), np.float32), "quanto/qint4[group=8,packing=package]")


def test_groups_of_one_value():
    x = np.full((1, 16), -0.3, np.float32)
    same = refquant.quantize(x, "quanto/qint4[group=16]")
    assert same.planes["scales"].tobytes() == bytes(4)
    assert (same.dequantize() == x).all()
    zeros = np.zeros((2, 16), np.float32)
    for kind in KINDS:
        assert not refquant.quantize(zeros, f"quanto/{kind}").dequantize().any()


def test_a_largest_magnitude_has_the_largest_code():
    x = np.float32([[-2.0, 1.0, 0.0, 2.0]])
    assert refquant.quantize(x, "quanto/qint8").planes["codes"].view("i1").ravel().tolist() == [
        -127, 64, 0, 127
    ]  # fmt: skip
    assert refquant.quantize(x, "quanto/qfloat8_e4m3fn").planes["codes"].tobytes() == bytes.fromhex(
        "fe76007e"
    )
