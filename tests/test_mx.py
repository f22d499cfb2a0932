"""MX formats against the scalar oracle, and the blocks on which scale rules differ."""

import numpy as np
import pytest

import refquant
from conformance.oracle import mx as oracle
from refquant.schemes.mx import blocks
from refquant.schemes.mx.engine_rules import ENGINE_RULES
from refquant.testing import adversarial_inputs
from tests.tensor_parts import codes_of

RULES = ("floor", "ceil", "even", "rceil", *ENGINE_RULES)


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
        scales, codes, values = codes_of(tensor, "s"), codes_of(tensor, "q"), tensor.dequantize()
        for row in range(len(x)):
            scale, elements = oracle.encode(x[row].tolist(), name, rule, least)
            assert scale == scales[row, 0], kind
            assert elements == codes[row].tolist(), kind
            expected = [oracle.decode(scale, code, name) for code in elements]
            assert np.array_equal(np.float32(expected), values[row], equal_nan=True), kind
            assert (np.signbit(np.float32(expected)) == np.signbit(values[row])).all(), kind


def every_class_of_largest():
    """Magnitudes of every exponent, with the mantissas at which a rule may change its mind."""
    turns = [0, 1 << 20, 0x3504F3, 1 << 22, 0x400000 - (1 << 19), 0x4CCCCC, 0x5A8279, 0x600000]
    turns += [0x7F0000, 0x7FFF00, 0x7FFFF0]
    near = {(turn + step) % (1 << 23) for turn in turns for step in range(-70, 71)}
    mantissas = np.array(sorted(near), np.uint32)
    bits = (np.arange(255, dtype=np.uint32)[:, None] << 23) | mantissas
    return np.append(bits.reshape(-1), np.uint32(0)).view(np.float32)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("mx/mxfp4[scale=ggml]", "ggml/mxfp4"),
        ("mx/mxfp4[scale=mlx_old]", "mlx/mxfp4[scale=round]"),
        ("mx/mxfp4[scale=mlx_new]", "mlx/mxfp4[scale=ceil]"),
        ("mx/mxfp8_e4m3[scale=mlx_old]", "mlx/mxfp8[scale=round]"),
        ("mx/mxfp8_e4m3[scale=mlx_new]", "mlx/mxfp8[scale=ceil]"),
    ],
)
def test_engines_scales_are_those_of_their_own_schemes(mine, theirs):
    largest = every_class_of_largest()
    x = np.zeros((len(largest), 32), np.float32)
    x[:, 3] = largest
    x[:, 30] = -largest / 2
    left, right = refquant.quantize(x, mine), refquant.quantize(x, theirs)
    scales = codes_of(right, "e" if theirs == "ggml/mxfp4" else "s")
    assert np.array_equal(codes_of(left, "s"), scales)
    assert len(np.unique(scales)) > 250


def scale_of(name, rule, largest):
    x = np.zeros((1, 32), np.float32)
    x[0, 5] = -np.float32(largest)
    return int(codes_of(refquant.quantize(x, f"mx/{name}[scale={rule}]"), "s")[0, 0])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("floor", [126, 127, 127, 127, 127, 127, 0]),
        ("ceil", [127, 127, 128, 128, 128, 128, 0]),
        ("even", [127, 127, 127, 127, 128, 128, 0]),
        ("rceil", [127, 127, 127, 128, 128, 128, 0]),
        ("ggml", [126, 127, 127, 127, 127, 127, 0]),
        ("mlx_old", [126, 126, 127, 127, 127, 127, 127]),
        ("mlx_new", [127, 127, 127, 128, 128, 128, 127]),
    ],
)
def test_scales_of_mxfp4_by_rule(rule, expected):
    largest = [3.9999998, 4, 6, 6.1, 7.0, 7.9, 0]
    assert [scale_of("mxfp4", rule, value) for value in largest] == expected


def test_ggml_s_logarithm_reaches_a_power_of_two_before_the_magnitude_does():
    below = [np.nextafter(np.float32(power), np.float32(0)) for power in (4, 8)]
    assert [scale_of("mxfp4", "ggml", value) for value in below] == [126, 128]
    assert [scale_of("mxfp4", "floor", value) for value in below] == [126, 127]


def test_a_scale_that_wraps_around_to_nan_has_zeros_for_elements():
    x = np.full((1, 32), -(2.0**-126), np.float32)
    tensor = refquant.quantize(x, "mx/mxfp4[scale=ggml]")
    assert codes_of(tensor, "s").tolist() == [[255]]
    assert set(codes_of(tensor, "q").ravel()) == {8}
    assert np.isnan(tensor.dequantize()).all()


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
