"""GPTQ's and AWQ's planes against loops over words, written from the checkpoints' description."""

from functools import partial

import numpy as np
import pytest

import refquant
from conformance.oracle import gptq as oracle
from tests.group_oracle import check_cases

OUTPUTS, INPUTS, GROUP = 64, 128, 32
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

ORACLES = {
    **{
        f"gptq/int{bits}[v={v},{symmetry},group=32]": partial(
            oracle.gptq, bits=bits, v=v, symmetry=symmetry
        )
        for bits in (2, 3, 4, 8)
        for v in ("1", "2")
        for symmetry in ("sym", "asym")
    },
    "gptq/int4[v=1,asym,channel]": partial(oracle.gptq, bits=4, v="1", symmetry="asym"),
    "awq/int4[group=32]": oracle.awq,
    "awq/int4[channel]": oracle.awq,
}


def checkpoint(bits, seed=3):
    """Random tensors as a GPTQ file has them: `qweight`, `qzeros`, `scales`."""
    rng = np.random.default_rng(seed)
    words = partial(rng.integers, 0, 2**32, dtype=np.uint32)
    return (
        words(size=(INPUTS * bits // 32, OUTPUTS)),
        words(size=(INPUTS // GROUP, OUTPUTS * bits // 32)),
        rng.uniform(0.01, 1, (INPUTS // GROUP, OUTPUTS)).astype(np.float16),
    )


def stream(words, bits, k):
    """Code `k` of a run of words, low bits first; a code may straddle two words."""
    whole = 0
    for word in reversed(words.tolist()):
        whole = whole << 32 | word
    return whole >> bits * k & (1 << bits) - 1


def gptq_values(qweight, qzeros, scales, bits, plus):
    values = np.empty((OUTPUTS, INPUTS), np.float32)
    for out in range(OUTPUTS):
        for i in range(INPUTS):
            g = i // GROUP
            code = stream(qweight[:, out], bits, i)
            zero = stream(qzeros[g], bits, out)
            values[out, i] = np.float32(scales[g, out]) * np.float32(code - (zero + plus))
    return values


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_checkpoints_decode(bits, version):
    qweight, qzeros, scales = checkpoint(bits)
    expected = gptq_values(qweight, qzeros, scales, bits, 2 - version)
    if bits == 3:  # the three words of 32 inputs come together
        qweight = np.ascontiguousarray(qweight.reshape(-1, 3, OUTPUTS).transpose(0, 2, 1))
    tensor = refquant.QuantizedTensor.from_planes(
        f"gptq/int{bits}[v={version},group={GROUP}]",
        (OUTPUTS, INPUTS),
        {"qweight": qweight.tobytes(), "qzeros": qzeros.tobytes(), "scales": scales.tobytes()},
    )
    assert np.array_equal(tensor.dequantize(), expected)
    assert np.array_equal(tensor.rows(32, 64).dequantize(), expected[32:])


def test_awq_checkpoints_decode():
    rng = np.random.default_rng(5)
    qweight = rng.integers(0, 2**32, (INPUTS, OUTPUTS // 8), dtype=np.uint32)
    qzeros = rng.integers(0, 2**32, (INPUTS // GROUP, OUTPUTS // 8), dtype=np.uint32)
    scales = rng.uniform(0.01, 1, (INPUTS // GROUP, OUTPUTS)).astype(np.float16)
    values = np.empty((OUTPUTS, INPUTS), np.float32)
    for i in range(INPUTS):
        for word in range(OUTPUTS // 8):
            for nibble, column in enumerate(AWQ_ORDER):
                out, g = 8 * word + column, i // GROUP
                code = int(qweight[i, word]) >> 4 * nibble & 15
                zero = int(qzeros[g, word]) >> 4 * nibble & 15
                values[out, i] = np.float32(scales[g, out]) * np.float32(code - zero)
    tensor = refquant.QuantizedTensor.from_planes(
        f"awq/int4[group={GROUP}]",
        (OUTPUTS, INPUTS),
        {"qweight": qweight.tobytes(), "qzeros": qzeros.tobytes(), "scales": scales.tobytes()},
    )
    assert np.array_equal(tensor.dequantize(), values)


def test_words_of_known_codes():
    x = np.zeros((8, 32), np.float32)
    v1, v2 = (refquant.quantize(x, f"gptq/int4[v={v},group=32]").planes for v in (1, 2))
    assert v1["qzeros"].view("<u4").item() == 0x77777777
    assert v2["qzeros"].view("<u4").item() == 0x88888888
    rows = np.repeat(np.arange(8, dtype=np.float32)[:, None], 32, axis=1)
    rows[:, 31] = 15
    word = refquant.quantize(rows, "awq/int4[group=32]").planes["qweight"].view("<u4")
    assert word[0, 0, 0] == 0x75316420
    assert word[31, 0, 0] == 0xFFFFFFFF


def test_version_1_keeps_zero_points_at_1_or_more():
    x = np.abs(np.random.default_rng(1).normal(size=(8, 32))).astype(np.float32)
    v1 = refquant.quantize(x, "gptq/int4[v=1,asym,group=32]").planes["qzeros"]
    v2 = refquant.quantize(x, "gptq/int4[v=2,asym,group=32]").planes["qzeros"]
    assert not v1.any()
    assert not v2.any()


@pytest.mark.parametrize("name", ORACLES)
def test_every_input_as_the_scalar_oracle(name):
    assert check_cases(refquant.scheme(name), ORACLES[name]) >= 14
