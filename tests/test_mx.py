"""MX formats against the scalar oracle, and the blocks on which scale rules differ."""

import numpy as np
import pytest

import refquant
from conformance.oracle import mx as oracle
from refquant.layout import field_codes
from refquant.schemes.mx import blocks
from refquant.testing import adversarial_inputs

RULES = ("floor", "ceil", "even", "rceil")


def field(tensor, name):
    plane = tensor.layout.fields[name].plane
    return field_codes(tensor.layout, name, tensor.planes[plane], tensor.shape)


@pytest.mark.parametrize(
    ("name", "rule", "least"),
    [
        *((name, rule, "exact") for name in blocks.ELEMENTS for rule in RULES),
        *(("mxfp4", rule, "torchao") for rule in RULES),
    ],
)
def test_scales_codes_and_values_are_the_oracle_s(name, rule, least):
    scheme = refquant.scheme(f"mx/{name}[scale={rule},least={least}]")
    for kind, x in adversarial_inputs(scheme, (6, 32)).items():
        tensor = refquant.quantize(x, scheme)
        scales, codes, values = field(tensor, "s"), field(tensor, "q"), tensor.dequantize()
        for row in range(len(x)):
            scale, elements = oracle.encode(x[row].tolist(), name, rule, least)
            assert scale == scales[row, 0], kind
            assert elements == codes[row].tolist(), kind
            expected = [oracle.decode(scale, code, name) for code in elements]
            assert np.float32(expected).tobytes() == values[row].tobytes(), kind


def scale_of(name, rule, largest):
    x = np.zeros((1, 32), np.float32)
    x[0, 5] = -np.float32(largest)
    return int(field(refquant.quantize(x, f"mx/{name}[scale={rule}]"), "s")[0, 0])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("floor", [126, 127, 127, 127, 127, 127, 0]),
        ("ceil", [127, 127, 128, 128, 128, 128, 0]),
        ("even", [127, 127, 127, 127, 128, 128, 0]),
        ("rceil", [127, 127, 127, 128, 128, 128, 0]),
    ],
)
def test_scales_of_mxfp4_by_rule(rule, expected):
    largest = [3.9999998, 4, 6, 6.1, 7.0, 7.9, 0]
    assert [scale_of("mxfp4", rule, value) for value in largest] == expected


@pytest.mark.parametrize(
    ("name", "weights", "plane"),
    [
        # Scale 2**0: 4, -0.5, 6 and 1.5 are codes 6, 9, 7 and 3; the first code in the low bits.
        ("mxfp4", [4, -0.5, 6, 1.5], "9637"),
        # 1, -0.125 and 7.5 are codes 8, 33 and 31; four codes of six bits in three bytes.
        ("mxfp6_e2m3", [1, -0.125, 7.5, 0], "48f801"),
        ("mxint8", [1, -1.984375, 0.015625, 0], "40810100"),
    ],
)
def test_packing_by_hand(name, weights, plane):
    x = np.zeros((1, 32), np.float32)
    x[0, : len(weights)] = weights
    tensor = refquant.quantize(x, f"mx/{name}")
    assert tensor.planes["scales"].tobytes() == b"\x7f"
    assert tensor.planes["codes"].tobytes().hex().startswith(plane)
    assert (tensor.dequantize() == x).all()


def test_the_last_scale_is_nan_and_the_first_is_no_zero():
    planes = {"codes": bytes([0x22] * 16), "scales": b"\xff"}
    tensor = refquant.QuantizedTensor.from_planes(refquant.scheme("mx/mxfp4"), (1, 32), planes)
    assert np.isnan(tensor.dequantize()).all()
    tensor = tensor.from_planes(tensor.scheme, (1, 32), {**planes, "scales": b"\0"})
    assert (tensor.dequantize() == np.float32(2.0**-127)).all()


def test_blocks_are_whole():
    with pytest.raises(refquant.RefquantError, match="multiple of 32"):
        refquant.quantize(np.zeros((1, 33), np.float32), "mx/mxfp8_e4m3")
