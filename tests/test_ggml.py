"""ggml's block formats without a compiler: gguf's decoder, and bytes that the C encoders wrote."""

import gguf
import numpy as np
import pytest

import refquant
from refquant.errors import SchemeError
from tests.differential import golden_ggml
from tests.ggml_inputs import records
from tests.ggml_oracle import half_places, type_of

NOT_IN_GGUF = {"ggml/q8_1", "ggml/q8_k", "ggml/q1_0", "ggml/q2_0"}
"""Formats that gguf 0.19 cannot decode; tests/differential/test_ggml.py asks C."""


@pytest.mark.parametrize("name", sorted({*golden_ggml.decodable()} - NOT_IN_GGUF))
def test_decoders_give_the_values_of_gguf(name, compared):
    kind, symbol = type_of(name)
    scheme = refquant.scheme(name)
    ((plane, declared),) = scheme.planes.items()
    data = records(3000, declared.bytes, half_places(symbol), seed=1)
    with np.errstate(all="ignore"):
        theirs = gguf.dequantize(data, gguf.GGMLQuantizationType(kind))
    shape = (len(data), declared.block[-1])
    ours = refquant.QuantizedTensor.from_planes(scheme, shape, {plane: data}).dequantize()
    compared.decoded(name, "gguf 0.19.0", ours, theirs)


def inputs(*, ruled):
    """Weights by distribution; those with NaN and infinities only where a rule for them is."""
    with np.load(golden_ggml.FOLDER / "inputs.npz") as found:
        for title, x in found.items():
            if title != "importance" and (ruled or np.isfinite(x).all()):
                yield title, x


def check_golden(name, *, weighted):
    golden = np.fromfile(golden_ggml.place(name, weighted=weighted), np.uint8)
    start = 0
    for title, x in inputs(ruled=refquant.scheme(name).non_finite and not weighted):
        rows = x.reshape(-1, 1024) if weighted else x
        importance = golden_ggml.importance() if weighted else None
        (ours,) = refquant.quantize(rows, name, importance=importance).planes.values()
        expected = golden[start : start + ours.size]
        assert np.array_equal(ours.reshape(-1), expected), title
        start += ours.size
    assert start == golden.size


@pytest.mark.parametrize("name", golden_ggml.encodable())
def test_encoders_write_the_bytes_of_c(name):
    check_golden(name, weighted=False)


@pytest.mark.parametrize("name", golden_ggml.encodable(weighted=True))
def test_encoders_with_importance_write_the_bytes_of_c(name):
    check_golden(name, weighted=True)


@pytest.mark.parametrize(
    ("seed", "block", "first"),
    [(2, 4, "771da929aefabfeaebc0bfe60f12b6b6"), (18, 6, "a61de728e977fde6e938c2dbf8b71def")],
)
def test_scales_out_of_range_reach_their_neighbours_in_q4_k(seed, block, first):
    """Fits under importance that is mostly zero; what ggml 0.15 writes before the codes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 256)).astype(np.float32)
    importance = (rng.random(256) < 0.1).astype(np.float32)
    found = refquant.quantize(x, "ggml/q4_k", importance=importance).planes["blocks"][block]
    assert found.reshape(-1)[:16].tobytes().hex() == first


def test_the_stored_importance_is_the_one_in_use():
    with np.load(golden_ggml.FOLDER / "inputs.npz") as inputs:
        assert np.array_equal(inputs["importance"], golden_ggml.importance())


@pytest.mark.parametrize(
    ("importance", "message"),
    [
        (np.ones(3), r"importance has shape \[3\], expected \[256\]"),
        (np.full(256, np.nan), "finite and not negative"),
        (np.full(256, -1.0), "finite and not negative"),
    ],
)
def test_bad_importance_is_refused(importance, message):
    with pytest.raises(SchemeError, match=message):
        refquant.quantize(np.ones((2, 256)), "ggml/q4_k", importance=importance)


def test_importance_is_refused_where_it_would_be_ignored():
    with pytest.raises(SchemeError, match="no use of importance"):
        refquant.quantize(np.ones((2, 256)), "ggml/q8_0", importance=np.ones(256))


def test_sums_of_activations_contribute_nothing():
    """Q8_1 carries a float16 sum, infinite here; C has no decoder for it."""
    block = np.zeros((1, 36), np.uint8)
    block[0, :2], block[0, 2:4] = (0x00, 0x3C), (0x00, 0x7C)
    block[0, 4:] = np.arange(-16, 16, dtype=np.int8).view(np.uint8)
    values = refquant.QuantizedTensor.from_planes("ggml/q8_1", (32,), {"blocks": block})
    expected = np.arange(-16, 16, dtype=np.float32)
    assert np.array_equal(values.dequantize().view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", ["ggml/q4_0", "ggml/q6_k"])
def test_importance_goes_with_the_axis(name):
    x = np.random.default_rng(3).standard_normal((512, 3)).astype(np.float32)
    importance = golden_ggml.importance(512)
    along_rows = refquant.quantize(x.T.copy(), name, importance=importance)
    along_columns = refquant.quantize(x, name, axis=0, importance=importance)
    assert np.array_equal(along_columns.dequantize(), along_rows.dequantize().T)
    plain = refquant.quantize(x, name, axis=0)
    assert not np.array_equal(along_columns.dequantize(), plain.dequantize())
