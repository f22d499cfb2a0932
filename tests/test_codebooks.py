"""Formats with codebooks: values of gguf on random and adversarial bytes, and a file by itself."""

import sys

import gguf
import numpy as np
import pytest

import refquant
from conformance.oracle import ggml_codebooks as codebooks
from conformance.oracle import layout as bitwise
from refquant.errors import SchemeError, UnsupportedError
from refquant.layout import Layout
from refquant.schemes import scheme_of_layout
from refquant.schemes.codebooks import CODEBOOKS, codebook_scheme
from tests import gguf_bytes
from tests.comparisons import unlike
from tests.ggml_inputs import records
from tests.ggml_oracle import half_places, type_of


def tensor_of(name, count, seed):
    scheme = refquant.scheme(name)
    places = half_places(type_of(name)[1])
    data = records(count, scheme.planes["blocks"].bytes, places, seed)
    return data, refquant.QuantizedTensor.from_planes(scheme, (count, 256), {"blocks": data})


@pytest.mark.parametrize("name", CODEBOOKS)
def test_decoders_give_the_values_of_gguf(name, compared):
    data, tensor = tensor_of(name, 1500, 7)
    with np.errstate(all="ignore"):
        theirs = gguf.dequantize(data, gguf.GGMLQuantizationType(type_of(name)[0]))
    compared.decoded(name, "gguf 0.19.0", tensor.dequantize(), theirs)


@pytest.mark.parametrize("name", CODEBOOKS)
def test_a_description_is_enough_to_decode(name):
    _, tensor = tensor_of(name, 2, 8)
    description = tensor.scheme.layout.describe()
    values = tensor.dequantize()
    again = scheme_of_layout(Layout.parse(description))
    assert again.layout == tensor.scheme.layout
    planes = {"blocks": tensor.planes["blocks"].tobytes()}
    for column in range(0, 256, 5):
        expected = bitwise.weight(description, planes, tensor.shape, (1, column))
        assert not unlike(values[1, column], np.float32(expected)).any()


@pytest.mark.parametrize("name", CODEBOOKS)
def test_values_are_the_oracle_s(name):
    data, tensor = tensor_of(name, 24, 11)
    width = tensor.layout.fields["v"].over[0]
    vectors = tensor.layout.tables["vectors"].reshape(-1, width).astype(int).tolist()
    values = tensor.dequantize()
    for row, block in enumerate(data):
        kind = name.removeprefix("ggml/")
        with np.errstate(all="ignore"):
            expected = np.float32(codebooks.decode(kind, block.tobytes(), vectors))
        assert not unlike(values[row], expected).any()


def test_they_cannot_encode():
    with pytest.raises(SchemeError, match="decoded only"):
        refquant.quantize(np.ones((1, 256)), "ggml/iq2_xxs")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    codebook_scheme.cache_clear()
    refquant.schemes.scheme.cache_clear()
    with pytest.raises(UnsupportedError, match=r"pip install refquant\[iq\]"):
        refquant.scheme("ggml/iq3_s")


def test_a_gguf_file_opens_without_the_package(monkeypatch, tmp_path):
    """Its tensor then says what to install; with the package it has values."""
    data = records(2, 66, (0,), seed=9)
    path = tmp_path / "iq.gguf"
    path.write_bytes(gguf_bytes.build(tensors=[("t", (2, 256), 16, data.tobytes())]))
    assert refquant.open_checkpoint(path).tensors["t"].scheme.name == "ggml/iq2_xxs"
    monkeypatch.setitem(sys.modules, "gguf", None)
    codebook_scheme.cache_clear()
    refquant.schemes.scheme.cache_clear()
    opened = refquant.open_checkpoint(path)
    assert dict(opened.unreadable) == {"t": "IQ2_XXS"}
    with pytest.raises(UnsupportedError, match=r"pip install refquant\[iq\]"):
        opened.tensors["t"]
