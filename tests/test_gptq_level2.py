"""GPTQ with act-order, and 3-bit words in rows, against loops over words."""

import numpy as np
import pytest

import refquant
from conformance.oracle import gptq as oracle
from refquant.errors import SchemeError, UnsupportedError
from refquant.testing import assert_bits_equal

OUTPUTS, INPUTS, GROUP = 32, 96, 32
RNG = np.random.default_rng(12)
IMPORTANCE = np.float32([1.5, 0, 3, 1.5, 2, 2, 0, 7] * (INPUTS // 8))


def name_of(bits, v, symmetry="asym"):
    rows = ",words=rows" if bits == 3 else ""
    return f"gptq/int{bits}[v={v},{symmetry},group={GROUP},order=act{rows}]"


def words(*shape):
    return RNG.integers(0, 2**32, shape, dtype=np.uint32)


@pytest.mark.parametrize("v", ["1", "2"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_checkpoints_with_any_index_decode(bits, v):
    groups = INPUTS // GROUP
    qweight = words(INPUTS * bits // 32, OUTPUTS)
    qzeros = words(groups, OUTPUTS * bits // 32)
    scales = RNG.uniform(0.01, 1, (groups, OUTPUTS)).astype(np.float16)
    index = RNG.integers(0, groups, INPUTS).astype("<i4")
    planes = {"qweight": qweight, "qzeros": qzeros, "scales": scales, "g_idx": index}
    tensor = refquant.QuantizedTensor.from_planes(
        name_of(bits, v), (OUTPUTS, INPUTS), {n: a.tobytes() for n, a in planes.items()}
    )
    values = tensor.dequantize()
    for out in range(OUTPUTS):
        column = qweight[:, out].tolist()
        for i, g in enumerate(index.tolist()):
            code = oracle.code_of_rows(column, bits, i)
            zero = oracle.code_of_rows(qzeros[g].tolist(), bits, out)
            scale = int(scales[g, out].view(np.uint16))
            assert values[out, i] == np.float32(oracle.value(scale, zero, code, v))
    assert_bits_equal(tensor.take(np.array([5, 1])), values[[5, 1]])


@pytest.mark.parametrize("symmetry", ["sym", "asym"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_groups_are_filled_by_falling_importance(bits, symmetry):
    x = RNG.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    tensor = refquant.quantize(x, name_of(bits, "2", symmetry), importance=IMPORTANCE)
    index = oracle.act_order(IMPORTANCE.tolist(), GROUP)
    assert tensor.planes["g_idx"].reshape(-1).view("<i4").tolist() == index
    qweight = tensor.planes["qweight"].reshape(-1, OUTPUTS * 4).view("<u4")
    scales = tensor.planes["scales"].reshape(-1, OUTPUTS * 2).view("<u2")
    zeros = tensor.planes["qzeros"].reshape(INPUTS // GROUP, -1).view("<u4")
    for g in range(INPUTS // GROUP):
        inputs = [i for i in range(INPUTS) if index[i] == g]
        for out in range(OUTPUTS):
            wanted = oracle.gptq(x[out, inputs].tolist(), bits, "2", symmetry)
            column = qweight[:, out].tolist()
            assert wanted["q"] == [oracle.code_of_rows(column, bits, i) for i in inputs]
            assert wanted["s"] == [scales[g, out]]
            assert wanted["z"] == [oracle.code_of_rows(zeros[g].tolist(), bits, out)]


def test_without_importance_groups_are_runs():
    x = RNG.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    plain = refquant.quantize(x, f"gptq/int4[group={GROUP}]")
    tensor = refquant.quantize(x, f"gptq/int4[group={GROUP},order=act]")
    assert all(tensor.planes[p].tobytes() == plain.planes[p].tobytes() for p in plain.planes)
    assert_bits_equal(tensor.dequantize(), plain.dequantize())


def test_rows_of_words_are_the_same_words():
    x = RNG.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    together = refquant.quantize(x, f"gptq/int3[group={GROUP}]")
    rows = refquant.quantize(x, f"gptq/int3[group={GROUP},words=rows]")
    words_ = together.planes["qweight"].reshape(INPUTS // 32, OUTPUTS, 3, 4)
    assert rows.planes["qweight"].tobytes() == words_.transpose(0, 2, 1, 3).tobytes()
    assert_bits_equal(rows.dequantize(), together.dequantize())


def test_an_index_of_no_group_is_refused():
    x = np.ones((OUTPUTS, INPUTS), np.float32)
    tensor = refquant.quantize(x, f"gptq/int4[group={GROUP},order=act]")
    for wrong in (-1, INPUTS // GROUP):
        index = np.zeros(INPUTS, "<i4")
        index[7] = wrong
        planes = {**tensor.planes, "g_idx": index.view(np.uint8)}
        damaged = refquant.QuantizedTensor.from_planes(tensor.scheme, x.shape, planes)
        with pytest.raises(SchemeError, match=f"input 7 names group {wrong} of 3"):
            damaged.dequantize()


def test_importance_and_shape_are_checked():
    x = np.ones((OUTPUTS, INPUTS), np.float32)
    scheme = refquant.scheme(f"gptq/int4[group={GROUP},order=act]")
    with pytest.raises(SchemeError, match=r"expected \[96\]"):
        refquant.quantize(x, scheme, importance=np.ones(95))
    with pytest.raises(SchemeError, match="finite"):
        refquant.quantize(x, scheme, importance=np.full(INPUTS, np.nan))
    with pytest.raises(SchemeError, match="multiple of 32"):
        refquant.quantize(x[:, :40], scheme)
    with pytest.raises(UnsupportedError, match="named by an index"):
        refquant.quantize(x, scheme).rows(0, 1)
