"""GPTQ for every kind of code: what it lowers, and that its columns are the paper's recursion."""

import numpy as np
import pytest

import refquant
from refquant.calibrate import GptqOptions, Levels, gptq, layer_error, with_codes
from refquant.errors import SchemeError

SCHEMES = (
    *("ggml/q4_0", "ggml/q3_k", "ggml/tq1_0", "bnb/nf4", "ggml/mxfp4", "ggml/q8_0"),
    *("torchao/int3[sym,channel]", "gptq/int4[v=1,sym,group=128]", "awq/int4[group=128]"),
    *("torchao/int4_tinygemm[group=128]", "int/affine[bits=4,asym,group=64]"),
)


@pytest.fixture(scope="module")
def layer():
    """Weights and correlated inputs, as layers have: (weights, Hessian)."""
    chance = np.random.default_rng(0)
    mixing = chance.normal(size=(256, 256)) * np.exp(chance.normal(size=256))
    inputs = chance.normal(size=(700, 256)) @ mixing
    return chance.normal(size=(64, 256)).astype(np.float32), inputs.T @ inputs


@pytest.mark.parametrize("name", SCHEMES)
def test_the_layers_error_falls(layer, name):
    weights, hessian = layer
    rounded = layer_error(weights, refquant.quantize(weights, name).dequantize(), hessian)
    scheme = refquant.scheme(name)
    for options, most in (
        (GptqOptions(), 0.75),
        (GptqOptions(order="activation"), 0.6),
        (GptqOptions(scales="beforehand", inverse="full", block=64), 0.95),
    ):
        chosen = gptq(weights, hessian, scheme, options)
        assert chosen.scheme.name == scheme.name
        assert layer_error(weights, chosen.dequantize(), hessian) < most * rounded


def test_blocks_are_only_a_faster_way(layer):
    weights, hessian = layer
    scheme = refquant.scheme("int/affine[bits=4,channel]")
    whole = gptq(weights, hessian, scheme, GptqOptions(block=256))
    cut = gptq(weights, hessian, scheme, GptqOptions(block=32))
    assert (whole.planes["codes"] == cut.planes["codes"]).mean() > 0.999


def test_the_recursion_one_column_at_a_time(layer):
    """Algorithm 1 with a Hessian inverse that is updated by elimination, without Cholesky."""
    weights, hessian = layer
    weights, hessian = weights[:8, :32], hessian[:32, :32]
    scheme = refquant.scheme("int/affine[bits=4,channel]")
    levels = Levels(refquant.quantize(weights, scheme.name))
    damped = hessian + 0.01 * np.mean(np.diag(hessian)) * np.eye(32)
    inverse, work = np.linalg.inv(damped), weights.astype(np.float64)
    codes = np.zeros(weights.shape, np.int8)
    for column in range(32):
        codes[:, column], rounded = levels.nearest(work[:, column].astype(np.float32), column)
        error = (work[:, column] - rounded) / inverse[column, column]
        work -= np.outer(error, inverse[column])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        inverse[column, column] = 1.0
    wanted = with_codes(levels.tensor, codes)
    found = gptq(weights, hessian, scheme, GptqOptions(scales="beforehand"))
    assert found.planes["codes"].tobytes() == wanted.planes["codes"].tobytes()


def test_without_correlation_it_is_rounding(layer):
    """Nearly: Q8_0's own encoder divides by a scale that it has not rounded yet."""
    weights, _ = layer
    for name in ("ggml/q8_0", "int/affine[bits=4,channel]", "bnb/nf4"):
        chosen = gptq(weights, np.eye(256), refquant.scheme(name))
        assert (chosen.dequantize() == refquant.quantize(weights, name).dequantize()).mean() > 0.99


def test_inputs_that_were_never_active_cost_nothing(layer):
    weights, hessian = layer
    hessian = hessian.copy()
    hessian[5], hessian[:, 5] = 0, 0
    chosen = gptq(weights, hessian, refquant.scheme("ggml/q4_0")).dequantize()
    assert (chosen[:, 5] == 0).all()


def test_every_level_is_its_own_nearest():
    weights = np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32)
    for name in ("bnb/nf4", "ggml/q4_0", "ggml/q8_0", "int/affine[bits=8,asym,channel]"):
        tensor = refquant.quantize(weights, name)
        levels, values = Levels(tensor), tensor.dequantize()
        for column in range(64):
            _, found = levels.nearest(values[:, column], column)
            assert np.abs(found - values[:, column]).max() <= np.abs(values).max() * 2.0**-22


def test_what_cannot_be_done():
    weights = np.ones((2, 32), np.float32)
    with pytest.raises(SchemeError, match=r"the Hessian is \[3, 3\], expected \[32, 32\]"):
        gptq(weights, np.eye(3), refquant.scheme("q4_0"))
    with pytest.raises(SchemeError, match="unevenly spaced codes"):
        gptq(weights, np.eye(32), refquant.scheme("float/f8_e4m3fn"))
