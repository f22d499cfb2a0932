"""torchao's schemes: golden values of the package, the scalar oracle, and cases by hand."""

from pathlib import Path

import numpy as np
import pytest

import refquant
from conformance.oracle import torchao as oracle
from tests.scalar_groups import compare
from tests.torchao_oracle import codes_and_parameters

GOLDEN = np.load(Path(__file__).parent / "data" / "torchao" / "golden.npz")
F32 = np.float32
NAMES = sorted({key.rpartition(" ")[0] for key in GOLDEN if " " in key})


def quantized(values, name):
    return codes_and_parameters(refquant.quantize(np.array([values], np.float32), name))


@pytest.mark.parametrize("name", NAMES)
def test_golden_values(name):
    tensor = refquant.quantize(GOLDEN["x"], name)
    for key, ours in codes_and_parameters(tensor).items():
        theirs = GOLDEN[f"{name} {key}"]
        assert np.array_equal(ours.reshape(-1), theirs.reshape(-1), equal_nan=True), key


@pytest.mark.parametrize("mapping", ["sym", "no_clip", "asym"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_integers_equal_the_scalar_oracle(bits, mapping):
    # One bit without clipping error has no finite scale at which ties could be aimed.
    aimed = "torchao/int1[sym,group=32]" if bits == 1 else None
    name = f"torchao/int{bits}[{mapping},group=32]"
    compare(name, oracle.integers, oracle.packed, oracle.value, (2, 64), aimed)


@pytest.mark.parametrize(
    "name",
    [
        "torchao/8da4w[sym,group=32]",
        "torchao/8da4w[asym,group=16,eps=eps]",
        "torchao/int4[asym,channel,scale=bf16]",
        "torchao/int8[sym,channel,scale=f16,eps=eps]",
    ],
)
def test_knobs_equal_the_scalar_oracle(name):
    compare(name, oracle.integers, oracle.packed, oracle.value, (2, 64))


@pytest.mark.parametrize("weights", ["f32", "bf16"])
@pytest.mark.parametrize("scale", ["f32", "bf16"])
def test_tinygemm_equals_the_scalar_oracle(scale, weights):
    name = f"torchao/int4_tinygemm[group=32,scale={scale},weights={weights}]"
    compare(name, oracle.tinygemm, oracle.tinygemm_packed, oracle.tinygemm_value, (2, 64))


@pytest.mark.parametrize(
    ("mapping", "scale", "codes"),
    [
        ("sym", F32(10.2) / F32(7.5), [-3, 7, 0, -5]),
        ("no_clip", F32(10.2) / F32(7), [-2, 7, 0, -5]),
        ("asym", (F32(10.2) + F32(7)) / F32(15), [-3 - 2, 7, -2, -8]),
    ],
)
def test_three_mappings_of_the_same_weights(mapping, scale, codes):
    found = quantized([-3.5, 10.2, 0.1, -7], f"torchao/int4[{mapping},group=4]")
    assert found["scale"].item() == scale
    assert found["codes"].tolist() == [codes]


def test_the_largest_magnitude_lies_on_a_tie():
    found = quantized([3, -3, 0.7, 0.1], "torchao/int4[group=4]")
    assert found["codes"].tolist() == [[7, -8, 2, 0]]
    # 1 / 7.5 rounds up, so -1 times its reciprocal is less than 7.5 away from zero.
    found = quantized([1, -1, 0.5, 0], "torchao/int4[group=4]")
    assert found["codes"].tolist() == [[7, -7, 4, 0]]


def test_the_zero_point_is_added_after_rounding():
    scale = 0.25
    x = [-127 * scale, 128 * scale, 0.5 * scale, 1.5 * scale, 2.5 * scale, -0.5 * scale]
    found = quantized(x, "torchao/int8[asym,channel]")
    assert found["zero_point"].tolist() == [[-1]]
    assert found["codes"][0, 2:].tolist() == [-1, 1, 1, -1]


def test_one_bit_symmetric_codes_are_all_zero():
    found = quantized([1, -1, 0.75, -0.25], "torchao/int1[sym,group=4]")
    assert found["codes"].tolist() == [[0, 0, 0, 0]]
    assert found["scale"].tolist() == [[2.0]]


def test_the_era_of_eps_decides_the_scale_of_zeros():
    for era, scale in (("tiny", 2.0**-126), ("eps", 2.0**-23)):
        found = quantized([0, 0, 0, 0], f"torchao/int4[sym,group=4,eps={era}]")
        assert found["scale"].item() == scale
    assert quantized([0] * 4, "torchao/int4[asym,group=4]")["zero_point"].item() == -8


def test_tinygemm_parameters_are_bfloat16():
    found = quantized([0.3, 1.7, 2.2, 5], "torchao/int4_tinygemm[group=4,weights=bf16]")
    assert found["scale"].item() == 0.3125
    assert found["zero_point"].item() == 2.796875
    assert found["codes"].tolist() == [[0, 4, 6, 15]]


def test_a_nan_scale_has_one_spelling():
    tensor = refquant.quantize(-np.ones((1, 4), np.float32), "torchao/int1[no_clip,group=4]")
    assert tensor.planes["scales"].tobytes().hex() == "0000c07f"
