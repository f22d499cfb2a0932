"""HQQ's groups against the scalar oracle, and the ranges on which its limits act."""

import numpy as np
import pytest

import refquant
from conformance.oracle import hqq as oracle
from refquant.testing import adversarial_inputs
from tests.tensor_parts import codes_of


@pytest.mark.parametrize(
    ("bits", "zero", "parameters"),
    [
        *((bits, "real", "f32") for bits in (1, 2, 3, 4, 8)),
        *((bits, "rounded", "f16") for bits in (2, 3, 4)),
    ],
)
def test_parameters_codes_and_values_are_the_oracle_s(bits, zero, parameters):
    name = f"hqq/affine[bits={bits},group=32,zero={zero},parameters={parameters}]"
    for kind, x in adversarial_inputs(name, (6, 32)).items():
        tensor = refquant.quantize(x, name)
        scales, zeros, codes = (codes_of(tensor, n) for n in "szq")
        for row, values in enumerate(tensor.dequantize()):
            scale, centre, expected = oracle.encode(x[row].tolist(), bits, zero, parameters)
            assert (scales[row, 0], zeros[row, 0]) == (scale, centre), kind
            assert codes[row].tolist() == expected, kind
            reals = [oracle.decode(scale, centre, code, parameters) for code in expected]
            assert np.array_equal(values, np.float32(reals), equal_nan=True), kind


@pytest.mark.parametrize(
    ("high", "scale", "zero"),
    [
        (1e-4, 1.0, 0.0),  # the range is not above 1e-4: no scaling at all
        (1.5e-4, 1 / 20000, 0.0),  # the inverse scale would be 100000
        (15.0, 1.0, 0.0),
    ],
)
def test_narrow_ranges(high, scale, zero):
    x = np.zeros((1, 64), np.float32)
    x[0, 7] = high
    tensor = refquant.quantize(x, "hqq/affine[bits=4,group=64]")
    assert tensor.planes["scales"].view("<f4").item() == np.float32(scale)
    assert tensor.planes["zeros"].view("<f4").item() == zero


def test_a_constant_group_comes_back_exactly():
    x = np.full((1, 64), -0.3, np.float32)
    assert (refquant.quantize(x, "hqq/affine[bits=1]").dequantize() == x).all()


def test_three_bit_codes_are_one_stream():
    x = np.zeros((1, 8), np.float32)
    x[0] = [0, 1, 2, 3, 4, 5, 6, 7]
    tensor = refquant.quantize(x, "hqq/affine[bits=3,group=8]")
    assert tensor.planes["codes"].tobytes() == 0o76543210.to_bytes(3, "little")
