"""Static layers on the weights and activations of SmolLM2, against AI Edge Quantizer and LiteRT."""

from pathlib import Path

import numpy as np
import pytest

from refquant.arithmetic import static_layer, static_parameters
from refquant.arithmetic.static import STATIC, static_bias, static_codes, static_values
from tests.differential.test_layers import MATRICES, ask, layer_of

pytestmark = pytest.mark.differential

ENGINES = {
    "int8_static": "reference",
    "int8_static_optimized": "builtin",
    "int8_static_xnnpack": "xnnpack",
    "int16_static": "reference",
    "int16_static_optimized": "builtin",
}
KINDS = {"int8": "int8_static", "int16": "int16_static"}


def ours_of(kind):
    """The contracts of a kind that engines here can be asked about."""
    without_vectors = "avx512" not in Path("/proc/cpuinfo").read_text("utf-8")
    return [
        name
        for name in ENGINES
        if name.startswith(kind) and not (without_vectors and name.endswith("optimized"))
    ]


def extents(x):
    return float(x.min()), float(x.max())


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_ranges(kind, oracle, tmp_path):
    random = np.random.default_rng(6)
    ranges = random.standard_normal((3000, 2)) * np.exp(random.uniform(-30, 30, (3000, 1)))
    ranges[:200, 1] = ranges[:200, 0] * random.integers(-255, 255, 200)
    ranges[200:300, 0] = 0
    ranges[300:400] = 0
    ranges = np.sort(ranges.astype(np.float32), axis=1)
    theirs = ask("aeq_static", oracle("aeq"), tmp_path, kind=kind, ranges=ranges)
    ours = [
        static_parameters(KINDS[kind], (float(low), float(high)), (-1.0, 1.0))
        for low, high in ranges
    ]
    assert [one.input_scale for one in ours] == theirs["scale"].tolist()
    assert [one.input_zero_point for one in ours] == theirs["zero_point"].tolist()


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layer", "matrix"), MATRICES)
def test_layers_of_the_package(layer, matrix, kind, has_bias, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, matrix)
    weights = stored.dequantize()
    bias = np.random.default_rng(7).standard_normal(len(weights)).astype(np.float32)
    given = {"bias": bias} if has_bias else {}
    theirs = ask("aeq_static", oracle("aeq"), tmp_path, kind=kind, weights=weights, x=x, **given)
    contract = KINDS[kind]
    known = static_parameters(contract, extents(x), tuple(theirs["met"].tolist()))
    assert [known.input_scale, known.input_zero_point] == theirs["input"].tolist()
    assert [known.output_scale, known.output_zero_point] == theirs["output"].tolist()
    if has_bias:
        added = static_bias(bias, theirs["scale"], known.input_scale)
        assert np.array_equal(added, theirs["added"])
    for name in ours_of(kind):
        ours = static_layer(name, known, theirs["codes"], theirs["scale"])
        codes = ours.codes(theirs["x_codes"], bias if has_bias else None)
        assert np.array_equal(codes, theirs[ENGINES[name]]), name
        assert len(np.unique(codes)) > 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layer", "matrix"), MATRICES)
def test_whole_layers(layer, matrix, kind, smollm2_gguf, oracle, tmp_path):
    stored, x = layer_of(smollm2_gguf, layer, matrix)
    weights = stored.dequantize()
    scale = np.maximum(np.abs(weights).max(axis=1), np.float32(1e-9)) / np.float32(127)
    codes = np.rint(weights / scale[:, None]).astype(np.int8)
    known = static_parameters(KINDS[kind], extents(x), extents(x @ weights.T))
    # Half the steps of the input, so that ties are met as well.
    step = np.float32(known.input_scale)
    x = np.concatenate([x, np.float32(0.5) * step * np.rint(x / (np.float32(0.5) * step))])
    asked = {
        "x": x,
        "codes": codes,
        "bits": 8,
        "scale": scale,
        "kind": kind,
        "input": np.array([known.input_scale, known.input_zero_point]),
        "output": np.array([known.output_scale, known.output_zero_point]),
    }
    theirs = ask("litert_static", oracle("aeq"), tmp_path, **asked)
    for name in ours_of(kind):
        ours = static_layer(name, known, codes, scale)(x)
        assert np.array_equal(ours.view(np.uint32), theirs[ENGINES[name]].view(np.uint32)), name
    resolvers = (theirs[name] for name in ("xnnpack", "builtin", "reference"))
    steps = [np.rint(values / np.float32(known.output_scale)) for values in resolvers]
    # Engines differ in ties only, and those are one step of a code, on either side of the layer.
    spread = np.abs(codes).max(axis=1) * scale * step / np.float32(known.output_scale)
    far = np.maximum.reduce(steps) - np.minimum.reduce(steps)
    assert (far <= 1 + np.ceil(x.shape[1] * spread)).all()


@pytest.mark.parametrize("contract", ENGINES)
def test_codes_and_values(contract, oracle, tmp_path):
    """The unit matrix shows the codes of the input: ties of both signs, and both ends."""
    if contract not in ours_of(contract.partition("_")[0]):
        pytest.skip("ruy rounds otherwise on processors without AVX-512")
    kernel = STATIC[contract]
    most = int(kernel.limits.max)
    known = static_parameters(contract, (-3.0, 4.0), (-3.0, 4.0))
    halves = np.random.default_rng(8).integers(-2 * most, 2 * most, (64, 64)) * 0.5
    x = (halves * known.input_scale).astype(np.float32)
    x[0, :4] = [1e4, -1e4, 0, -0.0]
    theirs = ask(
        "litert_static",
        oracle("aeq"),
        tmp_path,
        x=x,
        codes=np.eye(64, dtype=np.int8),
        bits=8,
        scale=np.ones(64, np.float32),
        kind=contract.partition("_")[0],
        input=np.array([known.input_scale, known.input_zero_point]),
        output=np.array([known.output_scale, known.output_zero_point]),
    )
    codes = static_codes(contract, x, known.input_scale, known.input_zero_point)
    ours = static_values(contract, codes, known.input_scale, known.input_zero_point)
    assert np.array_equal(ours, theirs[ENGINES[contract]])
    assert len(np.unique(codes)) > 200


def test_optimized_sixteen_bits_without_a_bias_wrap_around(oracle, tmp_path):
    x = np.full((1, 2048), 4.0, np.float32)
    known = static_parameters("int16_static", (-4.0, 4.0), (-8000.0, 8000.0))
    asked = {
        "x": x,
        "codes": np.full((1, 2048), 127, np.int8),
        "bits": 8,
        "scale": np.full(1, 2.0**-7, np.float32),
        "kind": "int16",
        "input": np.array([known.input_scale, 0]),
        "output": np.array([known.output_scale, 0]),
    }
    theirs = ask("litert_static", oracle("aeq"), tmp_path, **asked)
    exact = 2048 * 4 * 127 / 128
    assert abs(theirs["reference"][0, 0] - 8000) < 1  # saturated: the sum is 8128
    assert exact > 8000
    assert theirs["builtin"][0, 0] < 0
    assert theirs["xnnpack"][0, 0] < 0
