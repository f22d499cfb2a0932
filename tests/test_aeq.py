"""AI Edge schemes on blocks whose results the package itself gave (differential/test_aeq.py)."""

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes


def codes(tensor, name="q"):
    plane = tensor.layout.fields[name].plane
    return field_codes(tensor.layout, name, tensor.planes[plane], tensor.shape)


def block_scale(amax, qmax=7):
    x = np.zeros((1, 32), np.float32)
    x[0, 0] = np.float32(amax) * np.float32(qmax)
    return refquant.quantize(x, "aeq/int4[block=32]")


@pytest.mark.parametrize(
    ("scale", "stored"),
    [(0.1, 0x2E68), (1 / 7, 0x3090), (65000, 0x7BF0), (5e-8, 0x0001)],
)
def test_block_scales_are_rounded_to_bfloat16_then_to_float16(scale, stored):
    tensor = block_scale(scale)
    assert tensor.planes["scales"].tobytes() == stored.to_bytes(2, "little")


def test_a_block_of_zeros_has_scale_zero_and_one_too_large_an_infinite_scale():
    zero = refquant.quantize(np.zeros((1, 32), np.float32), "aeq/int4[block=32]")
    assert zero.planes["scales"].tobytes() == bytes(2)
    assert not codes(zero).any()
    tiny = np.zeros((1, 32), np.float32)
    tiny[0, 3] = 1e-9
    assert codes(refquant.quantize(tiny, "aeq/int4[block=32]"))[0, 3] == 7
    huge = block_scale(1e6)
    assert huge.planes["scales"].tobytes() == (0x7C00).to_bytes(2, "little")
    assert not codes(huge).any()
    assert np.isnan(huge.dequantize()).all()


@pytest.mark.parametrize(
    ("name", "values", "packed"),
    [
        ("aeq/int4[channel]", [1, -2, 3, -4, 5, 7], "e1c375"),
        ("aeq/int2[channel]", [-1, -1, 0, 1, 1], "4f01"),
    ],
)
def test_codes_are_packed_low_bits_first(name, values, packed):
    tensor = refquant.quantize(np.array([values], np.float32), name)
    assert tensor.planes["codes"].tobytes().hex() == packed


def test_eight_bits_leave_out_the_lowest_code():
    tensor = refquant.quantize(np.array([[-1.0, 0.5, 1.0]], np.float32), "aeq/int8[channel]")
    assert codes(tensor).tolist() == [[-127, 64, 127]]


def test_the_zero_point_is_added_before_rounding():
    scale = 2.0**-4
    x = np.array([[-127 * scale, 128 * scale, 0.5 * scale, 1.5 * scale, 2.5 * scale]], np.float32)
    tensor = refquant.quantize(x, "aeq/int8[asym,channel]")
    assert codes(tensor, "z").tolist() == [[-1]]
    assert codes(tensor)[0, 2:].tolist() == [0, 0, 2]


def test_blocks_must_divide():
    with pytest.raises(refquant.RefquantError, match="multiple of 32"):
        refquant.quantize(np.zeros((2, 33), np.float32), "aeq/int4[block=32]")


def test_names():
    assert refquant.scheme("aeq/int4[block=64]").name == "aeq/int4[sym,block=64]"
    assert refquant.scheme("aeq/int8").name == "aeq/int8[sym,channel]"
    with pytest.raises(refquant.RefquantError, match="32, 64, 128, 256"):
        refquant.scheme("aeq/int4[block=16]")
