"""Our bytes and values against ggml's C functions, built without contraction of a * b + c."""

import numpy as np
import pytest

import refquant
from tests.differential import golden_ggml
from tests.ggml_inputs import NOT_FINITE, records, weights
from tests.ggml_oracle import ask, half_places, type_of

pytestmark = pytest.mark.differential

BLOCKS = 5120
"""Super-blocks of 256 weights of each of 13 distributions: a little over 2**24 weights."""

SIMPLE = ("ggml/q4_0", "ggml/q4_1", "ggml/q8_0")
FLOATS = ("float/f16", "float/bf16")


def encoded(name, x):
    (plane,) = refquant.quantize(x, name).planes.values()
    return plane.reshape(-1)


def same_values(left, right):
    """Bits equal; a NaN equals any NaN, whose sign and payload IEEE 754 leaves open."""
    return (left.view(np.uint32) == right.view(np.uint32)) | (np.isnan(left) & np.isnan(right))


@pytest.mark.parametrize("name", SIMPLE)
def test_encoders_write_the_bytes_of_c(name, oracle, tmp_path):
    kind, symbol = type_of(name)
    for title, x in weights(BLOCKS):
        theirs = ask(oracle("ggml"), tmp_path, kind, x=x, symbol=symbol)
        ours = encoded(name, x)
        for way in ("from_float", "reference", "chunk"):
            assert np.array_equal(ours, theirs[way]), (title, way)


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_as_in_c(name, oracle, tmp_path):
    """Payloads of NaN apart: C makes one NaN of all in binary16, we keep the bits that fit."""
    kind, _ = type_of(name)
    for title, x in weights(BLOCKS):
        theirs = ask(oracle("ggml"), tmp_path, kind, x=x)["from_float"].view(np.uint16)
        ours = encoded(name, x).view(np.uint16)
        if name == "float/bf16":
            assert np.array_equal(ours, theirs), title
            continue
        nan = np.isnan(x).reshape(-1)
        assert np.array_equal(ours[~nan], theirs[~nan]), title
        assert np.array_equal(theirs[nan] & 0x7FFF, np.full(nan.sum(), 0x7E00)), title
        assert np.isnan(ours[nan].view(np.float16)).all(), title
        assert nan.any() == (title == NOT_FINITE)


@pytest.mark.parametrize("name", [*FLOATS, *SIMPLE])
def test_decoders_give_the_values_of_c(name, oracle, tmp_path):
    kind, symbol = type_of(name)
    scheme = refquant.scheme(name)
    ((plane, declared),) = scheme.planes.items()
    if name in FLOATS:
        data = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    else:
        data = records(1 << 16, declared.bytes, half_places(symbol))
    shape = (len(data), declared.block[-1])
    theirs = ask(oracle("ggml"), tmp_path, kind, bytes=data)["values"]
    ours = refquant.QuantizedTensor.from_planes(scheme, shape, {plane: data}).dequantize()
    assert same_values(ours.reshape(-1), theirs).all()


@pytest.mark.parametrize("name", golden_ggml.names())
def test_golden_files_are_what_c_writes(name, oracle, tmp_path):
    written = (golden_ggml.FOLDER / f"{name.removeprefix('ggml/')}.bin").read_bytes()
    assert written == golden_ggml.golden(name, oracle("ggml"), tmp_path)
