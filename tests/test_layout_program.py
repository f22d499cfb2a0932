"""Compiled decoders give the bits of `evaluate`, for every scheme and for layouts at random."""

import itertools
from math import lcm

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import refquant
from refquant.driver import decode_planes, decoding
from refquant.layout import Layout, Minifloat, Plane, Unsigned, evaluate, field
from refquant.layout.program import compile_program, compiled, has_program, is_faster
from refquant.layout.shortcuts import code_table, moved_bits
from refquant.layout.tiles import flat_shape
from tests import layout_strategies
from tests.test_layout_values import gridded, random_planes

NAMES = [info.name for info in refquant.schemes()]


def program_values(layout, planes, shape, rows):
    """All values, `rows` rows at a time by one program, the last rows again where they overlap."""
    values = np.full(shape, 7, np.float32)
    program = compile_program(layout, shape[-1], rows)
    windows, flat = program.windows(planes), values.reshape(-1, shape[-1])
    for start in range(0, len(flat), rows):
        first = min(start, len(flat) - rows)
        program.run(windows, first, flat[first : first + rows])
    return values


def assert_identical(actual, expected):
    # Bits of NaN included: both take them from the same table or the same operation.
    different = np.argwhere(actual.view(np.uint32) != expected.view(np.uint32))
    assert not len(different), f"{len(different)} differ, first at {different[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_programs_of_every_scheme_agree_with_evaluate(name):
    layout = refquant.scheme(name).layout
    if layout.active_axes > 1:
        pytest.skip("its blocks span several axes")
    shape = flat_shape(layout, (4, 1024))
    assert has_program(layout, shape[-1])
    planes = gridded(layout, random_planes(layout, shape), shape)
    expected = evaluate(layout, planes, shape)
    for rows in {1, min(3, shape[0]), shape[0]}:
        assert_identical(program_values(layout, planes, shape, rows), expected)


def fitting_width(layout):
    """The least width of rows that the blocks and shares of a layout along one axis divide."""
    extents = [plane.block[0] for plane in layout.planes.values()]
    extents += [field.over[0] for field in layout.fields.values()]
    return lcm(*(extent or 1 for extent in extents))


@settings(max_examples=300)
@given(st.data())
def test_programs_of_random_layouts_agree_with_evaluate(data):
    layout, _ = data.draw(layout_strategies.layouts())
    if layout.active_axes > 1 or any(plane.order for plane in layout.planes.values()):
        return
    shape = (data.draw(st.integers(1, 5)), fitting_width(layout) * data.draw(st.integers(1, 3)))
    if not has_program(layout, shape[-1]):
        event("no program")
        return
    event("program")
    planes = data.draw(layout_strategies.random_planes(layout, shape))
    planes = gridded(layout, planes, shape)
    actual = program_values(layout, planes, shape, data.draw(st.integers(1, shape[0])))
    expected = evaluate(layout, planes, shape)
    nan = np.isnan(actual) & np.isnan(expected)
    assert ((actual.view(np.uint32) == expected.view(np.uint32)) | nan).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_tiles_and_threads_do_not_matter(threads, rows, monkeypatch):
    layout, shape = refquant.scheme("ggml/q5_0").layout, (5, 20, 64)
    planes = gridded(layout, random_planes(layout, shape), shape)
    expected = evaluate(layout, planes, shape)
    monkeypatch.setattr(decoding, "PROGRAM_WEIGHTS", 0)
    monkeypatch.setattr(decoding, "TILE_WEIGHTS", 32 * rows)
    assert_identical(decode_planes(layout, planes, shape, threads=threads), expected)


def test_a_program_serves_one_user_at_a_time():
    layout = refquant.scheme("ggml/q4_0").layout
    with compiled(layout, 32, 4) as first, compiled(layout, 32, 4) as second:
        assert first is not second
    with compiled(layout, 32, 4) as again:
        assert again is first or again is second


@pytest.mark.parametrize("element", layout_strategies.MINIFLOATS)
def test_moved_bits_are_the_numbers_of_all_codes(element):
    if element.bits > 16:
        return
    bytes_ = 1 if element.bits <= 8 else 2
    layout = Layout({"p": Plane((1,), bytes_)}, {"w": field("p", element, "0")}, ("mul", "w", 1.0))
    codes = np.arange(1 << element.bits).astype(f"<u{bytes_}").view(np.uint8)
    planes = {"p": codes.reshape(-1, bytes_)}
    actual = program_values(layout, planes, (1 << element.bits, 1), 1 << element.bits)
    expected = code_table(element)
    nan = np.isnan(expected)
    assert (np.isnan(actual[:, 0]) == nan).all()
    assert_identical(actual[~nan, 0], expected[~nan])


def test_which_floats_move_their_bits():
    found = {element for element in layout_strategies.MINIFLOATS[:8] if moved_bits(element)}
    assert {Minifloat(1, 4, 3, 7, "fn"), Minifloat(1, 5, 10, 15, "ieee")} <= found
    assert Minifloat(0, 8, 0, 127, "e8m0") not in found


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("count", [1, 2])
def test_tables_are_taken_at_all_pairs_of_codes(bits, count):
    table = np.random.default_rng(bits).normal(size=1 << bits).astype(np.float32)
    table[0] = -0.0
    layout = Layout(
        {"p": Plane((count,), count)},
        {"q": field("p", Unsigned(bits), f"{count}:8")},
        ("lut", "t", "q"),
        {"t": table},
    )
    codes = np.indices((1 << bits,) * count, np.uint8).reshape(count, -1).T
    actual = program_values(layout, {"p": np.ascontiguousarray(codes)}, codes.shape, len(codes))
    assert_identical(actual, table[codes])


UNPACKED = ("ggml/q4_0", "ggml/q8_0", "float/f8_e4m3fn", "ggml/iq4_nl")
READY = ("float/bf16", "float/f32", "int/affine[bits=8,sym,channel]")


@pytest.mark.parametrize("name", UNPACKED + READY)
def test_programs_run_where_something_is_unpacked(name):
    assert is_faster(refquant.scheme(name).layout) is (name in UNPACKED)


def test_nibbles_of_every_kind_of_place():
    # Neighbours in one byte, halves of a record, and bits joined from two places.
    places = ("8:4", "(2,4):(4,8)", "(4,2):(4,16)")
    for place, rows in itertools.product(places, (1, 5)):
        layout = Layout({"p": Plane((8,), 4)}, {"q": field("p", Unsigned(4), place)}, "q")
        planes = gridded(layout, random_planes(layout, (5, 8)), (5, 8))
        expected = evaluate(layout, planes, (5, 8))
        assert_identical(program_values(layout, planes, (5, 8), rows), expected)
