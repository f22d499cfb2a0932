"""bitsandbytes' double quantization against the scalar oracle, and its tensors in checkpoints."""

import json

import numpy as np
import pytest

import refquant
from conformance.oracle import bnb as oracle
from refquant.errors import (
    ConformanceError,
    FormatError,
    RefquantError,
    SchemeError,
    UnsupportedError,
)
from refquant.layout import field_codes
from refquant.schemes.bnb.nested import mean_of, nested_codes
from refquant.schemes.bnb.state import planes_of_checkpoint, tensors_of_checkpoint
from refquant.testing import adversarial_inputs, assert_bits_equal

NESTED = "bnb/nf4[block=32,absmax=nested]"


def floats(records):
    return records.reshape(-1).view("<f4")


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_codes_and_values_are_the_oracle_s(kind):
    scheme = refquant.scheme(f"bnb/{kind}[block=32,absmax=nested]")
    for name, x in adversarial_inputs(scheme).items():
        tensor = refquant.quantize(x, scheme)
        blocks = x.reshape(-1, 32)
        absmax = np.abs(blocks).max(axis=1).tolist()
        offset = oracle.mean(absmax)
        assert floats(tensor.planes["nested_offset"]).tolist() == [offset], name
        codes, runs = oracle.encode_nested(absmax, offset)
        assert tensor.planes["absmax"].reshape(-1).tolist() == codes, name
        assert tensor.planes["nested_absmax"].reshape(-1).view("<u4").tolist() == runs, name
        flat, values = tensor.expanded, tensor.dequantize().reshape(-1, 32)
        found = field_codes(flat.layout, "q", flat.planes["codes"], flat.shape).reshape(-1, 32)
        for block in (0, 1, 150, 255, 256, 298):
            assert found[block].tolist() == oracle.encode(blocks[block].tolist(), kind)[1], name
            scale = oracle.decode_nested(codes[block], runs[block // 256], offset)
            bits = oracle.binary.bits32(scale)
            expected = np.float32([oracle.decode(bits, code, kind) for code in found[block]])
            assert_bits_equal(values[block].copy(), expected)


def test_the_last_run_is_divided_and_whole_ones_are_multiplied():
    absmax = np.float32([1.0] * 255 + [4.0])
    whole = nested_codes(absmax, np.float32(0.25))
    short = nested_codes(absmax[1:], np.float32(0.25))
    third = np.float32(3.75)
    assert floats(whole["n"]).tolist() == floats(short["n"]).tolist() == [3.75]
    for codes, quotient in (
        (whole["a"], np.float32(0.75) * (np.float32(1) / third)),
        (short["a"], np.float32(0.75) / third),
    ):
        assert codes[-2] == oracle.nearest([float(quotient)], "dynamic8")[0]
    zeros = nested_codes(np.zeros(300, np.float32), np.float32(0))
    assert floats(zeros["n"]).tolist() == [0.0, float(np.float32(1e-38))]


def test_the_mean_does_not_depend_on_the_order_of_blocks():
    absmax = np.abs(np.random.default_rng(3).normal(size=5000)).astype(np.float32) ** 9
    assert mean_of(absmax) == mean_of(absmax[::-1]) == mean_of(np.sort(absmax))


def test_groups_cross_rows_and_rows_of_any_length_do():
    x = np.random.default_rng(4).normal(size=(7, 96)).astype(np.float32)
    for name in ("bnb/fp4[block=32,blocks=flat]", "bnb/nf4[block=32,absmax=nested]"):
        flat = refquant.quantize(x.reshape(1, -1), name)
        tensor = refquant.quantize(x, name)
        assert all(tensor.planes[p].tobytes() == flat.planes[p].tobytes() for p in flat.planes)
        assert_bits_equal(tensor.dequantize(), flat.dequantize().reshape(x.shape))
        assert_bits_equal(tensor.take(np.array([6, 0])), tensor.dequantize()[[6, 0]])
    same = refquant.quantize(x, "bnb/nf4[block=32]")
    flat = refquant.quantize(x, "bnb/nf4[block=32,blocks=flat]")
    assert all(same.planes[p].tobytes() == flat.planes[p].tobytes() for p in same.planes)


def test_a_tensor_with_operators_says_that_no_layout_describes_it():
    tensor = refquant.quantize(np.ones((2, 64)), NESTED)
    with pytest.raises(UnsupportedError, match="no layout alone describes"):
        _ = tensor.layout
    with pytest.raises(UnsupportedError, match="C order as one axis"):
        tensor.rows(0, 1)
    assert tensor.expanded.shape == (128,)
    assert_bits_equal(tensor.expanded.dequantize(), tensor.dequantize().reshape(-1))
    plain = tensor.expanded
    assert plain.expanded is plain
    with pytest.raises(ConformanceError, match=r"2 of 128 values differ.*\n  places are those"):
        assert_bits_equal(tensor.dequantize() * np.float32([1] * 63 + [2]), tensor)
    planes = {**tensor.planes, "absmax": tensor.planes["absmax"] ^ 1}
    with pytest.raises(ConformanceError, match="field a: 4 of 4 codes differ"):
        assert_bits_equal(planes, tensor)
    assert tensor.bits_per_weight == tensor.scheme.bits_per_weight((2, 64))


def test_what_does_not_fit_is_refused():
    with pytest.raises(SchemeError, match="multiple of 32"):
        refquant.quantize(np.ones((3, 33)), NESTED)
    with pytest.raises(SchemeError, match="axis 0"):
        refquant.quantize(np.ones((64, 64)), NESTED, axis=0)
    with pytest.raises(SchemeError, match="no use of importance"):
        refquant.quantize(np.ones((64, 64)), NESTED, importance=np.ones(64))
    with pytest.raises(SchemeError, match="no rule"):
        refquant.quantize(np.full((2, 64), np.nan), NESTED)
    tensor = refquant.quantize(np.ones((2, 64)), NESTED)
    planes = {**tensor.planes, "absmax": tensor.planes["absmax"][:1]}
    with pytest.raises(SchemeError, match="has 1 bytes, expected 4 records of 1"):
        refquant.QuantizedTensor.from_planes(NESTED, (2, 64), planes)


@pytest.mark.parametrize("name", [NESTED, "bnb/fp4[blocks=flat]"])
def test_checkpoints_hold_the_same_tensor(name):
    x = np.random.default_rng(5).normal(size=(40, 96)).astype(np.float32)
    tensor = refquant.quantize(x, name)
    stored = tensors_of_checkpoint(tensor.scheme, tensor.shape, tensor.planes, "bfloat16")
    kind = name[4:7]
    state = json.loads(stored[f"quant_state.bitsandbytes__{kind}"].tobytes())
    assert state["dtype"] == "bfloat16"
    assert state["shape"] == [40, 96]
    assert stored[""].shape == (1920, 1)
    again = refquant.QuantizedTensor(*planes_of_checkpoint(stored))
    assert again.scheme.name == tensor.scheme.name
    assert_bits_equal(again.dequantize(), tensor.dequantize())


def broken(name, value):
    tensor = refquant.quantize(np.ones((2, 64)), NESTED)
    stored = tensors_of_checkpoint(tensor.scheme, tensor.shape, tensor.planes)
    key = "quant_state.bitsandbytes__nf4"
    if name in stored:
        return {**stored, name: value}
    state = {**json.loads(stored[key].tobytes()), name: value}
    return {**stored, key: np.frombuffer(json.dumps(state).encode(), np.uint8)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quant_map", np.zeros(16, np.float32)),
        ("nested_quant_map", np.zeros(256, np.float32)),
        ("quant_state.bitsandbytes__nf4", np.frombuffer(b"{", np.uint8)),
        ("quant_state.bitsandbytes__nf4", np.frombuffer(b"{}", np.uint8)),
        ("blocksize", 48),
        ("blocksize", "many"),
        ("shape", [2, 65]),
        ("shape", [-2, -64]),
        ("quant_type", "nf3"),
        ("nested_blocksize", 128),
        ("nested_offset", "0"),
    ],
)
def test_a_damaged_state_is_refused(name, value):
    with pytest.raises(RefquantError) as raised:
        planes_of_checkpoint(broken(name, value))
    assert isinstance(raised.value, FormatError) or name == "blocksize"


def test_only_flat_blocks_are_stored_in_checkpoints():
    tensor = refquant.quantize(np.ones((2, 64)), "bnb/nf4")
    with pytest.raises(SchemeError, match="no 4-bit blocks of the flattened tensor"):
        tensors_of_checkpoint(tensor.scheme, tensor.shape, tensor.planes)
