"""Inputs that find mistakes: deterministic, fitting, and aimed at ties."""

import numpy as np
import pytest
from hypothesis import given, settings

import refquant
from refquant.errors import SchemeError
from refquant.testing import (
    SplitMix64,
    adversarial,
    adversarial_inputs,
    assert_bits_equal,
    blocks,
    fitting_shape,
)
from tests.test_testing import GPTQ, NVFP4, Q4_0, U8


def test_splitmix_gives_the_published_numbers():
    # First outputs of the reference implementation for the seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert SplitMix64(1234567).bits(3).tolist() == expected
    again = SplitMix64(1234567)
    assert [again.bits(1)[0], *again.bits(2)] == expected
    bell = SplitMix64(1).bell(20000).astype(np.float64)
    assert abs(bell.mean()) < 0.03
    assert abs(bell.std() - 1) < 0.03
    assert SplitMix64(1).below(10, 1000).max() == 9


@pytest.mark.parametrize("name", ["q8_0", "int8", "int/affine[bits=4,asym,group=32]"])
def test_ties_are_ties(name):
    # Codes of an encoder that rounds the other way differ from ours at ties and nowhere else.
    inputs = adversarial_inputs(name)
    tensor = refquant.quantize(inputs["ties"], name)
    scheme = refquant.scheme(name)
    up = refquant.quantize(inputs["above ties"], scheme).dequantize()
    down = refquant.quantize(inputs["below ties"], scheme).dequantize()
    assert np.isfinite(up).all()
    assert np.isfinite(down).all()
    error = np.abs(tensor.dequantize() - inputs["ties"])
    half = np.abs(tensor.dequantize()).max() / 254
    assert (error > 0).mean() > 0.5
    assert error.max() <= 40 * half


def test_ties_of_bare_floats_are_half_way():
    ties = adversarial_inputs("bf16")["ties"].view(np.uint32)
    assert ((ties & 0xFFFF) == 0x8000).mean() > 0.9


def test_ties_tell_roundings_apart():
    even = refquant.scheme("int/affine[bits=8,sym,group=32]")
    away = refquant.scheme("int/affine[bits=8,sym,group=32,round=half_away]")

    def differing(x):
        return (
            refquant.quantize(x, even).planes["codes"] != refquant.quantize(x, away).planes["codes"]
        ).sum()

    inputs = adversarial_inputs(even, (8, 64))
    assert differing(inputs["bell"]) == 0
    assert differing(inputs["ties"]) > 20


def test_adversarial_inputs_fit_and_are_read_only():
    inputs = adversarial_inputs("q4_0", (3, 64))
    assert all(x.shape == (3, 64) and x.dtype == np.float32 for x in inputs.values())
    assert np.isnan(inputs["non-finite"]).any()
    assert "non-finite" not in adversarial_inputs("int8")
    assert np.signbit(inputs["negative zeros"]).all()
    with pytest.raises(SchemeError):
        adversarial_inputs("q4_0", (3, 33))
    with pytest.raises(SchemeError, match="decoded only"):
        adversarial_inputs(GPTQ)


@pytest.mark.parametrize("scheme", [Q4_0, GPTQ, U8, NVFP4, refquant.scheme("int8")], ids=repr)
def test_fitting_shapes_cut_no_block(scheme):
    shape = fitting_shape(scheme)
    assert (
        scheme.layout.bits_per_weight(shape)
        == scheme.layout.bits_per_weight((shape[0] * 2, *shape[1:]))
        or scheme is NVFP4
    )


@settings(max_examples=20)
@given(blocks("q4_0"))
def test_blocks_are_tensors(tensor):
    assert tensor.shape == (1, 32)
    assert_bits_equal(tensor.dequantize(), tensor)


@settings(max_examples=20)
@given(adversarial("int/affine[bits=4,asym,group=32]", (2, 64)))
def test_adversarial_weights_can_be_encoded(x):
    tensor = refquant.quantize(x, "int/affine[bits=4,asym,group=32]")
    assert np.isfinite(tensor.dequantize()).all()
