"""Shapes, chunks, threads and axes change nothing but the time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refquant
from refquant.driver import Scheme, chunks, decode_planes, decoding, encode_planes
from refquant.errors import LimitError, SchemeError
from refquant.layout import Layout, Plane, Unsigned, field, program
from tests.test_layout_values import DESIGN, assert_same_bits, gridded, random_planes

NAMES = (
    "float/bf16",
    "ggml/q4_0",
    "int/affine[bits=3,asym,channel]",
    "int/affine[bits=5,asym,group=8]",
    "int/affine[bits=8,sym,tensor]",
)


def weights(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same_planes(left, right):
    return left.keys() == right.keys() and all((left[n] == right[n]).all() for n in left)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [1, 33, 200, 4096])
@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_and_threads_do_not_matter(name, chunk, threads, monkeypatch):
    scheme, x = refquant.scheme(name), weights((6, 5, 64))
    for axis in (0, 1, 2):
        if scheme.why_not(x.shape, axis):
            continue
        planes = encode_planes(scheme, x, axis)
        values = refquant.QuantizedTensor(scheme, x.shape, planes, axis).dequantize()
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "CHUNK_WEIGHTS", chunk)
            assert same_planes(encode_planes(scheme, x, axis, threads), planes)
            layout = scheme.layout.along(axis, 3)
            assert_same_bits(decode_planes(layout, planes, x.shape, threads=threads), values)


@pytest.mark.parametrize("name", DESIGN)
@pytest.mark.parametrize("chunk", [1, 700])
def test_chunks_do_not_matter_for_any_layout(name, chunk, monkeypatch):
    layout, shape = DESIGN[name], (24, 512)
    planes = gridded(layout, random_planes(layout, shape), shape)
    values = decode_planes(layout, planes, shape)
    monkeypatch.setattr(chunks, "CHUNK_WEIGHTS", chunk)
    assert_same_bits(decode_planes(layout, planes, shape, threads=2), values)


@pytest.mark.parametrize("rows", [20, 33, 64, 70])
def test_chunks_never_cut_a_record_of_several_rows(rows, monkeypatch):
    layout, shape = DESIGN["q4_0"].along(0, 2), (rows, 3)
    planes = gridded(layout, random_planes(layout, shape), shape)
    values = decode_planes(layout, planes, shape)
    monkeypatch.setattr(chunks, "CHUNK_WEIGHTS", 1)
    assert_same_bits(decode_planes(layout, planes, shape), values)


def test_one_scale_stays_one_scale_however_long_the_tensor(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_WEIGHTS", 16)
    for name in ("int8", "int/affine[bits=4,asym,tensor]"):
        x = weights(100)
        x[-1] = 50
        tensor = refquant.quantize(x, name)
        largest = np.abs(x - tensor.dequantize()).max()
        assert largest <= 50 / 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_an_axis_is_a_transposed_last_axis(name, axis):
    x = weights((32, 64, 96))
    turned = refquant.quantize(x, name, axis=axis).dequantize()
    plain = refquant.quantize(np.ascontiguousarray(np.moveaxis(x, axis, -1)), name).dequantize()
    assert_same_bits(turned, np.moveaxis(plain, -1, axis))


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 1), (3, 7), (2, 3, 5), (2, 1, 3, 9)])
@pytest.mark.parametrize("name", [n for n in NAMES if "ggml" not in n])
def test_ragged_tails_are_whole_groups_with_zeros_unstored(name, shape):
    x = weights(shape)
    tensor = refquant.quantize(x, name)
    assert tensor.dequantize().shape == shape
    scheme = refquant.scheme(name)
    size = scheme.group[-1] if len(scheme.group) == 1 else 1
    if size > 1:
        padded = np.zeros((*shape[:-1], -(-shape[-1] // size) * size), np.float32)
        padded[..., : shape[-1]] = x
        whole = refquant.quantize(padded, name).dequantize()[..., : shape[-1]]
        assert_same_bits(tensor.dequantize(), whole)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    st.sampled_from(NAMES),
    st.data(),
)
def test_any_shape_is_encoded_or_refused_with_the_reason(shape, name, data):
    scheme = refquant.scheme(name)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = weights(shape)
    reason = scheme.why_not(shape, axis)
    if reason:
        with pytest.raises(SchemeError, match="multiple of 32"):
            refquant.quantize(x, scheme, axis)
        return
    tensor = refquant.quantize(x, scheme, axis)
    assert tensor.nbytes == tensor.layout.nbytes(shape)
    assert np.isfinite(tensor.dequantize()).all()


def test_strided_and_offset_inputs_and_outputs():
    x = weights((8, 128))
    expected = refquant.quantize(x, "q4_0").dequantize()
    wide = np.zeros((8, 256), np.float32)
    wide[:, ::2] = x
    tensor = refquant.quantize(wide[:, ::2], "q4_0")
    out = np.zeros((8, 256), np.float32)
    tensor.dequantize(out=out[:, 1::2])
    assert_same_bits(np.ascontiguousarray(out[:, 1::2]), expected)
    assert not out[:, ::2].any()
    fortran = refquant.quantize(np.asfortranarray(x), "q4_0")
    assert_same_bits(fortran.dequantize(), expected)


def test_what_cannot_be_encoded_says_why():
    scheme = refquant.scheme("q4_0")
    assert scheme.why_not((4, 32)) is None
    for shape, axis, reason in (
        ((4, 33), -1, "expected a multiple of 32"),
        ((4, 32), 0, "expected a multiple of 32"),
        ((4, 32), 2, "out of range"),
        ((), -1, "no weights"),
        ((0, 32), -1, "no weights"),
    ):
        assert reason in scheme.why_not(shape, axis)
    decoder = Scheme("test/decoder", "", scheme.layout, None)
    assert not decoder.can_encode
    with pytest.raises(SchemeError, match="decoded only"):
        refquant.quantize(weights((1, 32)), decoder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_without_a_rule_are_refused_by_place(bad):
    x = weights((3, 40))
    x[2, 7] = bad
    with pytest.raises(SchemeError, match=r"weight \[2, 7\]"):
        refquant.quantize(x, "int8")
    kept = refquant.quantize(x, "float/f32").dequantize()[2, 7]
    assert kept.view(np.uint32) == np.float32(bad).view(np.uint32)


def test_schemes_can_be_members_of_sets():
    assert len({refquant.scheme("int8"), refquant.scheme("q4_0"), refquant.scheme("q4_0")}) == 2
    assert repr(refquant.scheme("q4_0")) == "refquant.scheme('ggml/q4_0')"
    assert refquant.scheme("q4_0").bits_per_weight() == refquant.scheme("q4_0").bits_per_weight(
        (32,)
    )


def test_a_tensor_too_large_for_the_machine_is_a_limit():
    whole = Layout({"all": Plane((0,), 1)}, {"q": field("all", Unsigned(8), "0", over=0)}, "q")
    scheme = Scheme("test/whole", "One byte for any tensor", whole, None)
    tensor = refquant.QuantizedTensor.from_planes(scheme, (1 << 40,), {"all": b"\x01"})
    with pytest.raises(LimitError, match="4398046511104 bytes"):
        tensor.dequantize()


@pytest.mark.parametrize("count", [1000, 1001])
def test_no_two_threads_decode_into_the_same_rows(count, monkeypatch):
    """What a tile's values are in is also what its steps compute in."""
    tensor = refquant.quantize(weights((count, 32)), "ggml/q4_0")
    expected, decode = tensor.dequantize(threads=1), program.Program.run
    rows, together = [], []

    def noted(self, windows, start, values):
        rows.extend(range(start, start + self.rows))
        decode(self, windows, start, values)

    def one_by_one(work, starts, threads):
        for start in starts:
            work(start)
        together.extend(rows)

    monkeypatch.setattr(program.Program, "run", noted)
    monkeypatch.setattr(decoding, "for_each", one_by_one)
    monkeypatch.setattr(decoding, "TILE_WEIGHTS", 3 * 32)
    assert_same_bits(tensor.dequantize(threads=2), expected)
    assert len(set(together)) == len(together) > 0
    assert set(rows) == set(range(count))
