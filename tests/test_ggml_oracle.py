"""ggml's block formats against the scalar oracle, which shares nothing with them."""

import math

import numpy as np
import pytest

import refquant
from conformance.oracle import ggml as oracle
from refquant.layout import field_codes
from tests.ggml_inputs import records, weights
from tests.ggml_oracle import half_places, type_of

NAMES = sorted(oracle.DECODERS)
SEARCHES = sorted(oracle.ggml_search.ENCODERS)
ORDINARY = ("normal", "ties", "pairs of extremes", "constants")


def check_encoding(name, blocks):
    scheme = refquant.scheme(f"ggml/{name}")
    for block in blocks:
        tensor = refquant.quantize(block, scheme)
        expected = oracle.encode(name, block.tolist())
        for field in scheme.layout.fields:
            found = field_codes(scheme.layout, field, tensor.planes["blocks"], block.shape)
            assert found.tolist() == list(expected[field]), (field, block)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_oracle_s(name):
    scheme = refquant.scheme(f"ggml/{name}")
    plane = scheme.planes["blocks"]
    data = records(12, plane.bytes, half_places(type_of(scheme.name)[1]), seed=3)
    shape = (len(data), plane.block[0])
    values = refquant.QuantizedTensor.from_planes(scheme, shape, {"blocks": data}).dequantize()
    for block, row in zip(data, values.tolist(), strict=True):
        for found, expected in zip(row, oracle.decode(name, block.tobytes()), strict=True):
            same = found == expected and math.copysign(1, found) == math.copysign(1, expected)
            assert same or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SEARCHES)))
def test_closed_forms_choose_the_oracle_s_codes(name):
    size = refquant.scheme(f"ggml/{name}").group[0]
    for _, x in weights(2, seed=4, finite=True):
        check_encoding(name, x.reshape(-1, size)[:: max(256 // size // 2, 1)])


def test_largest_scales_of_mxfp4_have_infinite_multiples():
    """Eight or twelve times 2**125 is infinite, and farther from any weight than all others."""
    x = np.ldexp(np.linspace(-7.99999, 7.99999, 32), 125).astype(np.float32)
    check_encoding("mxfp4", [x, -x, x / 2, np.nextafter(x, np.float32(0)) / 4])


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_choose_the_oracle_s_codes(name):
    size = refquant.scheme(f"ggml/{name}").group[0]
    found = dict(weights(2, seed=5, finite=True))
    check_encoding(name, [found[kind].reshape(-1, size)[-1] for kind in ORDINARY])


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_searches_choose_the_oracle_s_codes_for_more_weights(name):
    size = refquant.scheme(f"ggml/{name}").group[0]
    for kind, x in weights(2, seed=6, finite=True):
        if kind not in ("all exponents", "subnormal"):
            check_encoding(name, np.clip(x, -1e4, 1e4).reshape(-1, size)[:2])
