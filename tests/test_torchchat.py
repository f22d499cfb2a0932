"""torchchat's schemes: the scalar oracle and cases by hand (golden values: test_torchao.py)."""

import numpy as np
import pytest

import refquant
from conformance.oracle import torchchat as oracle
from tests.scalar_groups import compare


@pytest.mark.parametrize("scale", ["f32", "bf16", "f16"])
@pytest.mark.parametrize(
    ("start", "shape"),
    [
        ("embedding[bits=8,channel", (4, 48)),
        ("embedding[bits=4,group=32", (2, 64)),
        ("int8[group=24", (2, 48)),
    ],
)
def test_schemes_equal_the_scalar_oracle(start, shape, scale):
    name = f"torchchat/{start},scale={scale}]"
    compare(name, oracle.weight_only, oracle.packed, oracle.value, shape)


def test_four_bits_are_packed_high_nibble_first_and_offset_by_eight():
    x = np.array([[1, -1, 0.5, 0]], np.float32)
    tensor = refquant.quantize(x, "torchchat/embedding[bits=4,channel]")
    assert tensor.planes["codes"].tobytes().hex() == "f1c8"
    expected = np.array([[7, -7, 4, 0]], np.float32) * np.float32(1 / 7.5)
    assert np.array_equal(tensor.dequantize(), expected)


def test_codes_are_chosen_by_the_scale_before_it_is_stored():
    # The scale 1/127.5 is stored as 1/128 + 2**-15: code 64 decodes to more than its weight.
    x = np.array([[1.0, 64.4 / 127.5]], np.float32)
    tensor = refquant.quantize(x, "torchchat/int8[channel,scale=bf16]")
    assert tensor.planes["codes"].view(np.int8).reshape(-1).tolist() == [127, 64]
    assert tensor.planes["scales"].tobytes().hex() == "013c"


def test_a_row_that_does_not_divide_is_filled_with_zeros():
    x = np.array([[1, 2, 3, -4, 5]], np.float32)
    tensor = refquant.quantize(x, "torchchat/int8[group=4]")
    assert tensor.planes["codes"].view(np.int8).reshape(-1).tolist() == [32, 64, 96, -127, 127]
    assert tensor.planes["scales"].shape == (1, 2, 4)
