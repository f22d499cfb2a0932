"""Quantized tensors: what they refuse, what they share, and that nothing changes them."""

from fractions import Fraction

import numpy as np
import pytest

import refquant
from refquant.errors import SchemeError
from tests.test_layout_values import DESIGN, assert_same_bits

Tensor = refquant.QuantizedTensor


def weights(shape, seed=5):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_bytes_of_any_kind_are_planes_and_are_not_copied():
    raw = bytes(range(36))
    views = (raw, bytearray(raw), memoryview(raw), np.frombuffer(raw, np.uint8))
    values = [Tensor.from_planes("q4_0", (1, 64), {"blocks": v}).dequantize() for v in views]
    for other in values[1:]:
        assert_same_bits(other, values[0])
    array = np.frombuffer(raw, np.uint8).copy()
    tensor = Tensor.from_planes("q4_0", (2, 32), {"blocks": array})
    assert np.shares_memory(tensor.planes["blocks"], array)
    assert tensor.planes["blocks"].shape == (2, 1, 18)


@pytest.mark.parametrize(
    ("shape", "planes", "reason"),
    [
        ((1, 64), {"blocks": bytes(35)}, "expected 2 records of 18"),
        ((1, 64), {"blocks": bytes(54)}, "has 54 bytes"),
        ((1, 64), {}, "'blocks' is missing"),
        ((1, 64), {"blocks": bytes(36), "extra": b""}, "no plane is called 'extra'"),
        ((0, 64), {"blocks": b""}, "no tensor has shape"),
        ((), {"blocks": bytes(18)}, "no tensor has shape"),
        ((-1, 64), {"blocks": bytes(36)}, "no tensor has shape"),
        ((1, 64), {"blocks": np.zeros(36, np.int8)}, "expected uint8"),
    ],
)
def test_planes_that_do_not_fit_are_refused(shape, planes, reason):
    with pytest.raises(SchemeError, match=reason):
        Tensor.from_planes("q4_0", shape, planes)


def test_an_axis_out_of_range_is_refused():
    with pytest.raises(SchemeError, match="axis 2"):
        Tensor.from_planes("q4_0", (1, 32), {"blocks": bytes(18)}, axis=2)


def test_nothing_changes_a_tensor():
    tensor = refquant.quantize(weights((2, 64)), "q4_0")
    for name in ("shape", "scheme", "planes", "new"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(tensor, name, None)
    with pytest.raises(TypeError):
        tensor.planes["blocks"] = None
    with pytest.raises(ValueError, match="read-only"):
        tensor.planes["blocks"][0] = 0


def test_a_caller_s_array_stays_writeable():
    array = np.zeros(18, np.uint8)
    Tensor.from_planes("q4_0", (1, 32), {"blocks": array})
    array[0] = 1


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, -2, 3], np.int64),
        ([1, 2, 3], np.uint8),
        ([0.5, -1.5, 2], np.float64),
        ([0.5, -1.5, 2], np.float16),
    ],
)
def test_real_numbers_of_any_type_are_read_as_binary32(values, dtype):
    tensor = refquant.quantize(np.array(values, dtype), "float/f32")
    assert tensor.dequantize().tolist() == values


def test_binary64_is_rounded_once():
    exact = 1 + 2**-24 + 2**-50
    assert refquant.quantize([exact], "float/f32").dequantize()[0] == np.float32(exact)
    assert np.isposinf(refquant.quantize([1e300], "float/f32").dequantize()[0])
    with pytest.raises(SchemeError, match="is inf"):
        refquant.quantize([1e300], "int8")


@pytest.mark.parametrize("values", [[True, False], [1j], ["1.0"], [None]])
def test_other_types_are_refused(values):
    with pytest.raises(SchemeError, match="expected real numbers"):
        refquant.quantize(np.array(values), "float/f32")


@pytest.mark.parametrize("shape", [(0,), (0, 32), (32, 0), ()])
def test_tensors_without_weights_are_refused(shape):
    with pytest.raises(SchemeError, match="no weights"):
        refquant.quantize(np.zeros(shape, np.float32), "q4_0")


@pytest.mark.parametrize("name", ["q4_0", "int8", "int/affine[bits=4,asym,tensor]", "f16"])
def test_rows_share_bytes_and_decode_alike(name):
    tensor = refquant.quantize(weights((10, 64)), name)
    whole = tensor.dequantize()
    part = tensor.rows(3, 7)
    assert part.shape == (4, 64)
    assert_same_bits(part.dequantize(), whole[3:7])
    for plane, records in part.planes.items():
        assert np.shares_memory(records, tensor.planes[plane])
    for start, stop in ((-1, 2), (3, 3), (0, 11), (7, 3)):
        with pytest.raises(SchemeError, match="no rows"):
            tensor.rows(start, stop)


def test_rows_inside_of_a_record_are_refused_not_misread():
    tensor = refquant.quantize(weights((64, 5)), "q4_0", axis=0)
    assert_same_bits(tensor.rows(32, 64).dequantize(), tensor.dequantize()[32:])
    for rows in ((3, 32), (0, 5), (16, 40)):
        with pytest.raises(SchemeError, match="inside of plane"):
            tensor.rows(*rows)
    ragged = Tensor.from_planes("q4_0", (20, 2), {"blocks": bytes(range(36))}, axis=0)
    assert_same_bits(ragged.rows(0, 7).dequantize(), ragged.dequantize()[:7])
    with pytest.raises(SchemeError, match="inside of plane"):
        ragged.rows(3, 7)


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("q4_0", -1),
        ("q4_0", 0),
        ("int8", -1),
        ("int8", 0),
        ("int/affine[bits=4,asym,tensor]", -1),
        ("int/affine[bits=3,asym,group=16]", 0),
        ("bf16", -1),
    ],
)
def test_taken_rows_are_those_of_the_whole(name, axis):
    tensor = refquant.quantize(weights((32, 64)), name, axis=axis)
    indices = np.array([5, 0, 31, 5, -1])
    assert_same_bits(tensor.take(indices), tensor.dequantize()[indices])
    assert tensor.take(np.array([], np.int64)).shape == (0, 64)
    with pytest.raises(IndexError):
        tensor.take(np.array([32]))


@pytest.mark.parametrize("name", DESIGN)
def test_taken_rows_for_any_layout(name):
    layout = DESIGN[name]
    scheme = refquant.Scheme("test/any", "", layout, None)
    generator = np.random.default_rng(4)
    planes = {n: generator.bytes(layout.plane_nbytes(n, (16, 256))) for n in layout.planes}
    tensor = Tensor.from_planes(scheme, (16, 256), planes)
    indices = np.array([9, 2, 15])
    assert_same_bits(tensor.take(indices), tensor.dequantize()[indices])


def test_rank_one_tensors_take_single_weights():
    tensor = refquant.quantize(weights(64), "q4_0")
    assert_same_bits(tensor.take(np.array([33, 1])), tensor.dequantize()[[33, 1]])


def test_what_a_tensor_shows():
    tensor = refquant.quantize(weights((2, 64)), "q4_0")
    assert tensor.bits_per_weight == Fraction(9, 2)
    assert tensor.nbytes == 72
    assert tensor.axis == 1
    assert repr(tensor) == (
        "QuantizedTensor('ggml/q4_0', shape=(2, 64), 72 bytes, 4.5 bits per weight)"
    )
    assert "<table>" in tensor._repr_html_()
    assert_same_bits(refquant.dequantize(tensor), tensor.dequantize())


def test_a_wrong_output_array_is_refused():
    tensor = refquant.quantize(weights((2, 64)), "q4_0")
    for out in (np.zeros((2, 64), np.float64), np.zeros((64, 2), np.float32)):
        with pytest.raises(SchemeError, match="expected float32"):
            tensor.dequantize(out=out)
