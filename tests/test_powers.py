"""E8M0 against the scalar oracle and ml_dtypes: all codes, all exponents, ties, what is outside."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest

import refquant
from conformance.oracle import powers as oracle
from refquant.testing import adversarial_inputs

KNOBS = list(product(("nearest", "floor", "ceil"), ("nan", "magnitude"), ("nan", "saturate")))


def name(rounding, outside="nan", overflow="nan"):
    return f"float/f8_e8m0[rounding={rounding},outside={outside},overflow={overflow}]"


def around_powers():
    """Each power of two and each middle with two neighbours, both signs, and subnormals."""
    exponents = np.arange(256, dtype=np.uint32) << np.uint32(23)
    near = np.array([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF], np.uint32)
    bits = (exponents[:, None] + near).reshape(-1)
    return np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)


@pytest.mark.parametrize("knobs", KNOBS, ids="-".join)
def test_codes_are_the_oracle_s(knobs):
    scheme = refquant.scheme(name(*knobs))
    inputs = [*adversarial_inputs(scheme, (4, 32)).values(), around_powers()]
    for x in inputs:
        found = refquant.quantize(x, scheme).planes["values"].ravel().tolist()
        assert found == [oracle.encode(v, *knobs) for v in x.ravel().tolist()]


def test_all_codes_are_the_oracle_s_and_ml_dtypes():
    codes = np.arange(256, dtype=np.uint8)
    tensor = refquant.QuantizedTensor.from_planes(name("nearest"), (256,), {"values": codes})
    values = tensor.dequantize()
    expected = np.float32([oracle.decode(code) for code in range(256)])
    theirs = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    assert np.array_equal(values, expected, equal_nan=True)
    assert np.array_equal(values, theirs, equal_nan=True)
    assert np.isnan(values[255])
    assert not np.isnan(values[:255]).any()


def test_codes_are_those_of_ml_dtypes(compared):
    random = np.random.default_rng(0).integers(0, 1 << 32, 1 << 22, np.uint32).view(np.float32)
    for x in (around_powers(), random):
        found = refquant.quantize(x, name("nearest")).planes["values"].ravel()
        with np.errstate(invalid="ignore"):
            theirs = x.astype(ml_dtypes.float8_e8m0fnu)
        parts = {"codes": (found, theirs.view(np.uint8))}
        compared.encoded(name("nearest"), "ml_dtypes 0.6.0", x.size, parts)
    codes = np.tile(np.arange(256, dtype=np.uint8), 256)
    planes = {"values": codes}
    tensor = refquant.QuantizedTensor.from_planes(name("nearest"), codes.shape, planes)
    values = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    compared.decoded(name("nearest"), "ml_dtypes 0.6.0", tensor.dequantize(), values)


@pytest.mark.parametrize(
    ("rounding", "weights", "expected"),
    [
        (
            "nearest",
            [1.5, 1.4999999, 3.0, 2.0**-127, 1.01 * 2.0**-127, -1.0, 0.0],
            "807f810001ffff",
        ),
        ("floor", [1.9999999, 1.5 * 2.0**-127, 3e38, np.inf], "7f00feff"),
        ("ceil", [1.0000001, 1.0, 2.0**-140, 2.0**127, 1.8e38], "807f00feff"),
    ],
)
def test_roundings(rounding, weights, expected):
    tensor = refquant.quantize(np.float32(weights), name(rounding))
    assert tensor.planes["values"].tobytes() == bytes.fromhex(expected)
