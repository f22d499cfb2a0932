"""Activation quantizers, layers and requantization against the kernels of LiteRT and XNNPACK.

With the unit matrix as weights and unit scales a layer's output is the dequantized activations:
that is how single codes are seen.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from refquant import arithmetic
from tests.activation_rows import extreme_rows, rows

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "litert_worker.py"
WIDTH = 64

QUANTIZERS = [
    ("builtin", False, 8, arithmetic.litert_symmetric),
    ("builtin", False, 2, arithmetic.litert_symmetric),
    ("reference", False, 4, arithmetic.litert_symmetric),
    ("builtin", True, 8, arithmetic.litert_asymmetric),
    ("reference", True, 4, arithmetic.litert_asymmetric),
    ("xnnpack", False, 8, arithmetic.xnnpack_asymmetric),
    ("xnnpack", True, 4, arithmetic.xnnpack_asymmetric),
    ("xnnpack", False, 2, arithmetic.xnnpack_asymmetric),
]
STATIC_SCALES = (0.5, 0.25, 2.0**-6, 0.3, 3e-3, 1.7e-5, 1.5)


def ask(python, folder, engine, **request):
    question, answer = folder / "request.npz", folder / "answer.npz"
    np.savez(question, **request)
    subprocess.run([python, WORKER, question, answer], check=True, capture_output=True)
    with np.load(answer) as found:
        assert engine in found, str(found.get(f"refused_{engine}"))
        return found[engine]


def same_bits(ours, theirs):
    return np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))


def layer(bits, *, blocks=0, bias, seed=5):
    """Codes, scales and bias of 24 outputs; the least code is left out, some kernels err on it."""
    generator = np.random.default_rng(seed)
    least, most = {8: (-127, 128), 4: (-7, 8), 2: (-2, 2)}[bits]
    width = 32 * blocks or WIDTH
    codes = generator.integers(least, most, (24, width)).astype(np.int8)
    scale = generator.uniform(1e-3, 1, (24, blocks) if blocks else 24)
    added = generator.normal(size=24).astype(np.float32) if bias else np.zeros(24, np.float32)
    return codes, scale.astype(np.float16 if blocks else np.float32), added


@pytest.mark.parametrize(("engine", "asymmetric", "bits", "quantize"), QUANTIZERS)
def test_codes_of_activations(engine, asymmetric, bits, quantize, oracle, tmp_path):
    x = rows(WIDTH)
    assert x.shape == (602, 64)
    theirs = ask(
        oracle("aeq"),
        tmp_path,
        engine,
        x=x,
        codes=np.eye(WIDTH, dtype=np.int8),
        bits=bits,
        scale=np.ones(WIDTH, np.float32),
        asymmetric=asymmetric,
    )
    assert same_bits(quantize(x).dequantize() + np.float32(0), theirs + np.float32(0))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("engine", "bits"), [("builtin", 8), ("builtin", 2), ("reference", 8), ("reference", 4)]
)
def test_litert_layers(engine, bits, bias, oracle, tmp_path):
    x, (codes, scale, added) = rows(WIDTH), layer(bits, bias=bias)
    given = {"bias": added} if bias else {}
    theirs = ask(oracle("aeq"), tmp_path, engine, x=x, codes=codes, bits=bits, scale=scale, **given)
    ours = arithmetic.litert_layer(arithmetic.litert_symmetric(x), codes, scale, added)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("bias", [False, True])
def test_litert_optimized_int4_layers(bias, oracle, tmp_path):
    x, (codes, scale, added) = rows(WIDTH), layer(4, bias=bias)
    given = {"bias": added} if bias else {}
    theirs = ask(oracle("aeq"), tmp_path, "builtin", x=x, codes=codes, bits=4, scale=scale, **given)
    quantized = arithmetic.litert_symmetric(x)
    assert np.array_equal(arithmetic.litert_int4_layer(quantized, codes, scale, added), theirs)


def within_four_roundings(theirs, exact):
    """A scale, its inverse and two products: each of the four rounds once, by at most 2**-24."""
    return (np.abs(theirs - np.float64(exact)) <= 4 / (2**24 - 4) * np.abs(np.float64(exact))).all()


def test_litert_optimized_int4_layers_misread_minus_eight(oracle, tmp_path):
    codes = np.diag(np.full(64, -8, np.int8))
    asked = {"x": np.eye(64, dtype=np.float32), "codes": codes, "bits": 4}
    answers = {
        engine: ask(oracle("aeq"), tmp_path, engine, scale=np.ones(64, np.float32), **asked)
        for engine in ("builtin", "reference", "xnnpack")
    }
    right = codes.astype(np.float32)
    assert within_four_roundings(answers["reference"], right)
    assert within_four_roundings(answers["xnnpack"], right)
    wrong = answers["builtin"]
    assert within_four_roundings(np.diag(wrong), 8)
    others = np.argwhere(abs(wrong - np.diag(np.diag(wrong))) > 1)
    assert (16, 16) not in others.tolist()
    assert {(int(read), int(column)) for read, column in others} >= {(4, 20), (14, 30)}


def test_litert_layers_err_on_minus_128(oracle, tmp_path):
    x = np.array([[127] + [0] * 31, [-127] + [0] * 31], np.float32)
    codes = np.full((1, 32), -128, np.int8)
    asked = {"x": x, "codes": codes, "bits": 8, "scale": np.ones(1, np.float32)}
    expected = {"builtin": -1, "reference": -1, "xnnpack": 1}
    for engine, sign in expected.items():
        theirs = ask(oracle("aeq"), tmp_path, engine, **asked)
        assert within_four_roundings(theirs, [[-128 * 127], [sign * 128 * 127]])


def test_tiny_and_huge_rows(oracle, tmp_path):
    x = extreme_rows(32)
    asked = {"x": x, "codes": np.eye(32, dtype=np.int8), "bits": 8}
    asked["scale"] = np.ones(32, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        litert = arithmetic.litert_symmetric(x)
        xnnpack = arithmetic.xnnpack_asymmetric(x)
        values = {"builtin": litert.dequantize(), "xnnpack": xnnpack.dequantize()}
    # C is undefined where the factor overflows; XNNPACK's subnormal scales are flushed to zero.
    defined = {
        "builtin": abs(x).max(axis=1) >= 2.0**-121,
        "xnnpack": (xnnpack.scale >= 2.0**-126) | (xnnpack.scale == 0),
    }
    for engine, rule in defined.items():
        theirs = ask(oracle("aeq"), tmp_path, engine, **asked)
        assert 6 <= rule.sum() < len(rule)
        assert np.array_equal(values[engine][rule], theirs[rule], equal_nan=True)
    assert not theirs[~defined["xnnpack"]].any()


@pytest.mark.parametrize("bias", [False, True])
def test_litert_block_layers(bias, oracle, tmp_path):
    x, (codes, scale, added) = rows(128), layer(4, blocks=4, bias=bias)
    given = {"bias": added} if bias else {}
    theirs = ask(oracle("aeq"), tmp_path, "builtin", x=x, codes=codes, bits=4, scale=scale, **given)
    quantized = arithmetic.litert_asymmetric(x)
    ours = arithmetic.litert_block_layer(quantized, codes, scale.astype(np.float32), added)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_xnnpack_layers(bits, bias, oracle, tmp_path):
    x, (codes, scale, added) = rows(WIDTH), layer(bits, bias=bias)
    given = {"bias": added} if bias else {}
    theirs = ask(
        oracle("aeq"), tmp_path, "xnnpack", x=x, codes=codes, bits=bits, scale=scale, **given
    )
    quantized = arithmetic.xnnpack_asymmetric(x)
    # One of the two, whole: which one is the processor's choice.
    assert any(
        np.array_equal(
            arithmetic.xnnpack_layer(quantized, codes, scale, added, fused=fused), theirs
        )
        for fused in (True, False)
    )


@pytest.mark.parametrize("bias", [False, True])
def test_xnnpack_block_layers(bias, oracle, tmp_path):
    x, (codes, scale, added) = rows(128), layer(4, blocks=4, bias=bias)
    given = {"bias": added} if bias else {}
    theirs = ask(oracle("aeq"), tmp_path, "xnnpack", x=x, codes=codes, bits=4, scale=scale, **given)
    quantized = arithmetic.xnnpack_asymmetric(x)
    assert any(
        np.array_equal(
            arithmetic.xnnpack_block_layer(
                quantized, codes, scale.astype(np.float32), added, offset=offset, fused=fused
            ),
            theirs,
        )
        for offset in (0, 128)
        for fused in (True, False)
    )


def accumulators(real, top, generator):
    """Small numbers of both signs and random ones that stay within the output's range."""
    reach = int(top * 1.2 / real)
    return np.concatenate([np.arange(-300, 301), generator.integers(-reach, reach, 2399)])


def static(python, folder, engine, dtype, scale, wanted, shares=1.0):
    """What the engine makes of accumulators that arrive as biases: the input is all zero."""
    channels = len(wanted) if np.ndim(shares) == 0 else 1
    kind = np.int32 if dtype is np.int8 else np.int64
    return ask(
        python,
        folder,
        engine,
        x=np.zeros((1, 32), dtype),
        codes=np.ones((len(wanted), 32), np.int8),
        bits=8,
        scale=np.full(channels, scale, np.float32),
        bias=wanted.astype(kind),
        input=np.array((1.0, 0)),
        output=np.array((1.0, 0)),
    )[0]


def requantized(engine, dtype, accumulator, real):
    if engine == "reference" or dtype is np.int16:
        codes = arithmetic.requantize_real(accumulator, float(real))
    elif engine == "builtin":
        codes = arithmetic.requantize_ties_up(accumulator, arithmetic.fixed_point(float(real)))
    else:
        return arithmetic.requantize_float(accumulator, real, 0, dtype)
    return arithmetic.saturating_cast(codes, dtype)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("engine", ["reference", "xnnpack", "builtin"])
def test_requantization(engine, dtype, per_tensor, oracle, tmp_path):
    if engine == "builtin" and "avx512" not in Path("/proc/cpuinfo").read_text("utf-8"):
        pytest.skip("ruy rounds otherwise on processors without AVX-512")
    generator, top = np.random.default_rng(7), np.iinfo(dtype).max
    for scale in STATIC_SCALES:
        real = np.float32(scale)
        wanted = accumulators(real, top, generator).astype(np.int32)
        shares = np.ones(1) if per_tensor else 1.0
        theirs = static(oracle("aeq"), tmp_path, engine, dtype, scale, wanted, shares)
        assert np.array_equal(requantized(engine, dtype, wanted, real), theirs), scale


def test_reference_requantization_holds_its_multiplier_in_binary64(oracle, tmp_path):
    wanted, first = np.arange(-100, 101), 1 + 2.0**-20
    second = (1 - 2.0**-20) / 2
    theirs = ask(
        oracle("aeq"),
        tmp_path,
        "reference",
        x=np.zeros((1, 32), np.int8),
        codes=np.ones((201, 32), np.int8),
        bits=8,
        scale=np.full(201, second, np.float32),
        bias=wanted.astype(np.int32),
        input=np.array((first, 0)),
        output=np.array((1.0, 0)),
    )[0]
    assert np.array_equal(arithmetic.requantize_real(wanted, first * second), theirs)
    # 31 bits would hold 1/2, and these would be ties: 1 would become 1 and not 0.
    assert arithmetic.fixed_point(first * second) == arithmetic.fixed_point(0.5)
    assert theirs[101] == 0


@pytest.mark.parametrize("engine", ["reference", "xnnpack", "builtin"])
def test_whole_static_layers(engine, oracle, tmp_path):
    if engine == "builtin" and "avx512" not in Path("/proc/cpuinfo").read_text("utf-8"):
        pytest.skip("ruy rounds otherwise on processors without AVX-512")
    generator = np.random.default_rng(11)
    x = generator.integers(-128, 128, (300, 96)).astype(np.int8)
    codes = generator.integers(-127, 128, (48, 96)).astype(np.int8)
    scale = generator.uniform(1e-4, 1e-2, 48).astype(np.float32)
    bias = generator.integers(-10_000, 10_000, 48).astype(np.int32)
    given, taken = (np.float32(0.02), -5), (np.float32(0.1), 17)
    theirs = ask(
        oracle("aeq"),
        tmp_path,
        engine,
        x=x,
        codes=codes,
        bits=8,
        scale=scale,
        bias=bias,
        input=np.array(given),
        output=np.array(taken),
    )
    sums = arithmetic.integer_matmul(x, codes) + bias
    sums -= np.int32(given[1]) * codes.sum(axis=1, dtype=np.int32)
    for channel, share in enumerate(scale):
        real = float(given[0]) * float(share) / float(taken[0])
        if engine == "xnnpack":
            single = given[0] * share / taken[0]
            ours = arithmetic.requantize_float(sums[:, channel], single, taken[1], np.int8)
        else:
            by = arithmetic.fixed_point(real)
            wide = (
                arithmetic.requantize_real(sums[:, channel], real)
                if engine == "reference"
                else arithmetic.requantize_ties_up(sums[:, channel], by)
            )
            ours = arithmetic.saturating_cast(wide + taken[1], np.int8)
        assert np.array_equal(ours, theirs[:, channel]), channel
