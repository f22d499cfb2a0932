"""AI Edge schemes: golden values of the package, the scalar oracle, and cases by hand."""

from pathlib import Path

import numpy as np
import pytest

import refquant
from conformance.oracle import aeq as oracle
from refquant.testing.inputs import adversarial_inputs
from tests.aeq_oracle import codes_and_parameters
from tests.scalar_groups import compare
from tests.tensor_parts import codes_of

GOLDEN = np.load(Path(__file__).parent / "data" / "aeq" / "golden.npz")
NAMES = sorted({key.rpartition(" ")[0] for key in GOLDEN if " " in key})


@pytest.mark.parametrize("name", NAMES)
def test_golden_values(name):
    tensor = refquant.quantize(GOLDEN["x"], name)
    for key, ours in codes_and_parameters(tensor).items():
        assert np.array_equal(ours.reshape(-1), GOLDEN[f"{name} {key}"].reshape(-1)), key


@pytest.mark.parametrize(
    "name",
    [
        "aeq/int8[channel]",
        "aeq/int8[tensor]",
        "aeq/int8[block=32]",
        "aeq/int8[asym,channel]",
        "aeq/int4[channel]",
        "aeq/int4[block=64]",
        "aeq/int4[asym,tensor]",
        "aeq/int2[channel]",
        "aeq/int2[block=32]",
    ],
)
def test_integers_equal_the_scalar_oracle(name):
    compare(name, oracle.integers, oracle.packed, oracle.value, (2, 64))


def test_the_float16_cast_equals_the_scalar_oracle():
    for kind, x in adversarial_inputs("aeq/fp16", (2, 64)).items():
        codes = refquant.quantize(x, "aeq/fp16").planes["values"].view("<u2").reshape(-1)
        finite = np.isfinite(x.reshape(-1))
        theirs = [oracle.fp16(float(v)) for v in x.reshape(-1)[finite]]
        assert codes[finite].tolist() == theirs, kind


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
    assert not codes_of(zero, "q").any()
    tiny = np.zeros((1, 32), np.float32)
    tiny[0, 3] = 1e-9
    small = refquant.quantize(tiny, "aeq/int4[block=32]")
    assert codes_of(small, "q")[0, 3] == 7
    huge = block_scale(1e6)
    assert huge.planes["scales"].tobytes() == (0x7C00).to_bytes(2, "little")
    assert not codes_of(huge, "q").any()
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
    assert codes_of(tensor, "q").tolist() == [[-127, 64, 127]]


def test_the_zero_point_is_added_before_rounding():
    scale = 2.0**-4
    x = np.array([[-127 * scale, 128 * scale, 0.5 * scale, 1.5 * scale, 2.5 * scale]], np.float32)
    tensor = refquant.quantize(x, "aeq/int8[asym,channel]")
    assert codes_of(tensor, "z").tolist() == [[-1]]
    assert codes_of(tensor, "q")[0, 2:].tolist() == [0, 0, 2]


def test_blocks_must_divide():
    with pytest.raises(refquant.RefquantError, match="multiple of 32"):
        refquant.quantize(np.zeros((2, 33), np.float32), "aeq/int4[block=32]")


def test_names():
    assert refquant.scheme("aeq/int4[block=64]").name == "aeq/int4[sym,block=64]"
    assert refquant.scheme("aeq/int8").name == "aeq/int8[sym,channel]"
    with pytest.raises(refquant.RefquantError, match="32, 64, 128, 256"):
        refquant.scheme("aeq/int4[block=16]")
