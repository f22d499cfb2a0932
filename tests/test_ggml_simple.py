"""ggml's block formats without a compiler: gguf's decoder, and bytes that the C encoders wrote."""

from pathlib import Path

import gguf
import numpy as np
import pytest

import refquant
from tests.ggml_inputs import records
from tests.ggml_oracle import half_places, type_of

FOLDER = Path(__file__).parent / "data" / "ggml"

DECODED = ("ggml/q4_0", "ggml/q4_1", "ggml/q8_0")
ENCODED = ("ggml/q4_0", "ggml/q4_1", "ggml/q8_0")


def same_values(left, right):
    """Bits equal; a NaN equals any NaN, whose sign and payload IEEE 754 leaves open."""
    return (left.view(np.uint32) == right.view(np.uint32)) | (np.isnan(left) & np.isnan(right))


@pytest.mark.parametrize("name", DECODED)
def test_decoders_give_the_values_of_gguf(name):
    kind, symbol = type_of(name)
    scheme = refquant.scheme(name)
    ((plane, declared),) = scheme.planes.items()
    data = records(3000, declared.bytes, half_places(symbol), seed=1)
    with np.errstate(all="ignore"):
        theirs = gguf.dequantize(data, gguf.GGMLQuantizationType(kind))
    shape = (len(data), declared.block[-1])
    ours = refquant.QuantizedTensor.from_planes(scheme, shape, {plane: data}).dequantize()
    assert same_values(ours, theirs.reshape(shape)).all()


@pytest.mark.parametrize("name", ENCODED)
def test_encoders_write_the_bytes_of_c(name):
    scheme = refquant.scheme(name)
    golden = np.fromfile(FOLDER / f"{name.removeprefix('ggml/')}.bin", np.uint8)
    start = 0
    with np.load(FOLDER / "inputs.npz") as inputs:
        for title, x in inputs.items():
            if not scheme.non_finite and not np.isfinite(x).all():
                continue
            (ours,) = refquant.quantize(x, scheme).planes.values()
            expected = golden[start : start + ours.size]
            assert np.array_equal(ours.reshape(-1), expected), title
            start += ours.size
    assert start == golden.size
