"""TFLite's integers: the scalar oracle, ties of both kernels, packing, and what is refused."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import tflite as oracle
from refquant.errors import UsageError
from tests.group_oracle import check_cases

MEMBERS = [
    *(f"int8[{knobs}]" for knobs in ("sym,channel", "sym,tensor", "asym,channel", "asym,tensor")),
    *("int8[asym,tensor,kernel=optimized]", "int8[sym,tensor,kernel=optimized]"),
    *("int8[sym,block=32]", "int4[block=64]"),
    *("uint8[tensor]", "uint8[channel]", "uint8[tensor,kernel=optimized]"),
    *("int16", "int16[kernel=optimized]"),
    *("int4[channel]", "int4[tensor]", "uint4[tensor]", "uint4[tensor,kernel=optimized]"),
    *("int2[channel]", "int2[tensor]"),
]  # fmt: skip


@pytest.mark.parametrize("member", MEMBERS)
def test_every_input_as_the_scalar_oracle(member):
    scheme = refquant.scheme(f"tflite/{member}")
    check = partial(
        oracle.integers,
        kind=member.partition("[")[0],
        asym="zero_points" in scheme.planes,
        half="block" in member,
        kernel=str(scheme.parameters.get("kernel", "reference")),
    )
    assert check_cases(scheme, check) >= 12


def codes(x, name):
    return refquant.quantize(np.float32(x), name).planes["codes"].reshape(-1)


def test_ties_go_away_from_zero_or_to_even():
    x = [[0.5, 1.5, 2.5, -0.5, -2.5, 127.0]]
    away = codes(x, "tflite/int8[tensor]").view(np.int8)
    assert away.tolist() == [1, 2, 3, -1, -3, 127]
    even = codes(x, "tflite/int8[tensor,kernel=optimized]").view(np.int8)
    assert even.tolist() == [0, 2, 2, 0, -2, 127]


def test_the_reciprocal_is_not_the_quotient():
    x = np.random.default_rng(0).normal(size=(1, 1 << 12)).astype(np.float32)
    scale = np.abs(x).max() / np.float32(127)
    x[0, :254] = (np.arange(254, dtype=np.float32) - np.float32(126.5)) * scale
    divided, multiplied = (
        codes(x, f"tflite/int8[tensor,kernel={kernel}]") for kernel in ("reference", "optimized")
    )
    assert 0 < (divided != multiplied).sum() <= 256


def test_codes_are_packed_low_bits_first():
    assert codes([[7, -7, 1, 0]], "tflite/int4").tolist() == [0x97, 0x01]
    assert codes([[1, -1, 0, 1]], "tflite/int2").tolist() == [0b01_00_11_01]


def test_a_scale_of_zero_is_one():
    for member in MEMBERS:
        x = np.zeros((1, 64), np.float32)
        tensor = refquant.quantize(x, f"tflite/{member}")
        one = "3c00" if "block" in member else "3f800000"
        assert tensor.planes["scales"].reshape(-1).tobytes()[::-1].hex().startswith(one)
        assert not tensor.dequantize().any()


def test_zero_is_a_value_of_asymmetric_types():
    x = np.float32([[1.0, 2.0, 3.0, 255.0]])
    tensor = refquant.quantize(x, "tflite/uint8")
    assert (tensor.planes["zero_points"] == 0).all()
    assert tensor.planes["codes"].reshape(-1).tolist() == [1, 2, 3, 255]
    below = refquant.quantize(-x, "tflite/int8[asym,tensor]")
    assert below.planes["zero_points"].view(np.int8).item() == 127


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tflite/int8[channel,kernel=optimized]", "whole tensors"),
        ("tflite/int8[asym,block=32]", "no zero points"),
        ("tflite/int2[block=32]", "unknown knob 'block'"),
    ],
)
def test_what_the_format_lacks_is_refused(name, words):
    with pytest.raises(UsageError, match=words):
        refquant.scheme(name)
