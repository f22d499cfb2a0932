"""The formula over whole tensors, against exact rationals rounded to binary32 at each node."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conformance.oracle import layout as oracle
from refquant.driver import decode_planes
from refquant.errors import SchemeError
from refquant.layout import Layout, Minifloat, Plane, Signed, Unsigned, evaluate, field, field_codes
from refquant.layout.layout import aligned
from tests import layout_strategies

F16 = Minifloat(1, 5, 10, 15, "ieee")
F32 = Minifloat(1, 8, 23, 127, "ieee")


def gridded(layout, planes, shape):
    return {
        name: np.frombuffer(planes[name], np.uint8).reshape(*layout.grid(name, shape), plane.bytes)
        for name, plane in layout.planes.items()
    }


def random_planes(layout, shape, seed=7):
    generator = np.random.default_rng(seed)
    return {name: generator.bytes(layout.plane_nbytes(name, shape)) for name in layout.planes}


def assert_same_bits(actual, expected):
    expected = np.array(expected, np.float32).reshape(actual.shape)
    both_nan = np.isnan(actual) & np.isnan(expected)
    same = (actual.view(np.uint32) == expected.view(np.uint32)) | both_nan
    assert same.all(), f"first at {np.argwhere(~same)[0]}"


def check(layout, planes, shape):
    expected = oracle.values(layout.describe(), planes, shape)
    assert_same_bits(decode_planes(layout, gridded(layout, planes, shape), shape), expected)


@settings(max_examples=150)
@given(st.data())
def test_random_layouts_decode_as_the_interpreter_does(data):
    layout, shape = data.draw(layout_strategies.layouts())
    check(layout, data.draw(layout_strategies.random_planes(layout, shape)), shape)


def int4_group(group, zero_block=None):
    """The int4 row of the design: separate planes for codes, scales and zero points."""
    return Layout(
        {
            "codes": Plane((2,), 1),
            "scale": Plane((group,), 2),
            "zero": Plane((zero_block or 2 * group,), 1),
        },
        {
            "q": field("codes", Unsigned(4), "2:4"),
            "s": field("scale", F16, "0", over=group),
            "z": field("zero", Unsigned(4), "2:4", over=group),
        },
        ("mul", "s", ("sub", "q", "z")),
    )


SC_MN = {
    "sc": field("b", Unsigned(6), "4:8+32", ((4, "4:8+96"), (2, "4:8+38")), over=32),
    "mn": field("b", Unsigned(6), "4:8+64", ((4, "4:8+100"), (2, "4:8+70")), over=32),
}

DESIGN = {
    "q4_0": Layout(
        {"b": Plane((32,), 18)},
        {
            "d": field("b", F16, "0", over=32),
            "q": field("b", Unsigned(4), "(2,16):(4,8)+16"),
        },
        ("mul", "d", ("sub", "q", 8.0)),
    ),
    "q5_0": Layout(
        {"b": Plane((32,), 22)},
        {
            "d": field("b", F16, "0", over=32),
            "q": field("b", Unsigned(5), ((4, "(2,16):(4,8)+48"), (1, "32:1+16"))),
        },
        ("mul", "d", ("sub", "q", 16.0)),
    ),
    "q4_k": Layout(
        {"b": Plane((256,), 144)},
        {
            "d": field("b", F16, "0", over=256),
            "dmin": field("b", F16, "16", over=256),
            **SC_MN,
            "q": field("b", Unsigned(4), "(4,2,32):(256,4,8)+128"),
        },
        ("sub", ("mul", ("mul", "d", "sc"), "q"), ("mul", "dmin", "mn")),
    ),
    "q6_k": Layout(
        {"b": Plane((256,), 210)},
        {
            "q": field(
                "b",
                Unsigned(6),
                ((4, "(2,2,2,32):(512,4,256,8)"), (2, "(2,2,2,32):(256,4,2,8)+1024")),
            ),
            "sc": field("b", Signed(8), "16:8+1536", over=16),
            "d": field("b", F16, "1664", over=256),
        },
        ("mul", ("mul", "d", "sc"), ("sub", "q", 32.0)),
    ),
    "int4 asymmetric, group 128": int4_group(128),
    "GPTQ": Layout(
        {
            "qweight": Plane((1, 8), 4, (1, 0)),
            "scales": Plane((1, 128), 2, (1, 0)),
            "qzeros": Plane((8, 128), 4, (1, 0)),
        },
        {
            "q": field("qweight", Unsigned(4), "8:4", over=(1, 1)),
            "s": field("scales", F16, "0", over=(1, 128)),
            "z": field("qzeros", Unsigned(4), "8:4", over=(1, 128)),
        },
        ("mul", "s", ("sub", "q", ("add", "z", 1.0))),
    ),
    "AWQ": Layout(
        {
            "qweight": Plane((8, 1), 4, (1, 0)),
            "scales": Plane((1, 128), 2, (1, 0)),
            "qzeros": Plane((8, 128), 4, (1, 0)),
        },
        {
            "q": field("qweight", Unsigned(4), "(4,2):(4,16)", over=(1, 1)),
            "s": field("scales", F16, "0", over=(1, 128)),
            "z": field("qzeros", Unsigned(4), "(4,2):(4,16)", over=(1, 128)),
        },
        ("mul", "s", ("sub", "q", "z")),
    ),
}


@pytest.mark.parametrize("name", DESIGN)
@pytest.mark.parametrize("shape", [(1, 256), (8, 256), (3, 512), (2, 2, 256)])
def test_every_row_of_the_design_decodes(name, shape):
    layout = DESIGN[name]
    if prod_of(shape) > 1100 and name in {"q4_k", "q6_k"}:
        shape = (2, 256)
    check(layout, random_planes(layout, shape), shape)


def prod_of(shape):
    return int(np.prod(shape))


def test_gptq_words_are_read_as_the_checkpoint_stores_them():
    # qweight of [N, K] is int32[K / 8, N]: word (i, j) holds weights K = 8i..8i+7 of row j.
    layout, (rows, columns) = DESIGN["GPTQ"], (16, 256)
    generator = np.random.default_rng(1)
    words = generator.integers(0, 2**32, (columns // 8, rows), np.uint32)
    zeros = generator.integers(0, 2**32, (columns // 128, rows // 8), np.uint32)
    scales = generator.normal(size=(columns // 128, rows)).astype(np.float16)
    planes = {"qweight": words.tobytes(), "scales": scales.tobytes(), "qzeros": zeros.tobytes()}
    values = decode_planes(layout, gridded(layout, planes, (rows, columns)), (rows, columns))
    for row in range(rows):
        for column in range(columns):
            code = int(words[column // 8, row]) >> 4 * (column % 8) & 15
            zero = int(zeros[column // 128, row // 8]) >> 4 * (row % 8) & 15
            scale = np.float32(scales[column // 128, row])
            assert values[row, column] == scale * np.float32(code - (zero + 1))


def test_awq_words_are_read_in_its_own_order():
    # qweight of [N, K] is int32[K, N / 8], whose nibbles hold columns 0 2 4 6 1 3 5 7.
    layout, (rows, columns) = DESIGN["AWQ"], (16, 128)
    generator = np.random.default_rng(2)
    words = generator.integers(0, 2**32, (columns, rows // 8), np.uint32)
    planes = random_planes(layout, (rows, columns)) | {"qweight": words.tobytes()}
    codes = field_codes(
        layout, "q", gridded(layout, planes, (rows, columns))["qweight"], (rows, columns)
    )
    for place, lane in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
        expected = (words >> np.uint32(4 * place) & np.uint32(15)).T
        assert (codes[lane::8] == expected).all()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (2, 1, 3, 2)])
@pytest.mark.parametrize("extents", [(0,) * 8, (0,)])
def test_scales_of_a_whole_axis_or_tensor(shape, extents):
    layout = Layout(
        {"codes": Plane((2,), 1), "scale": Plane(extents, 4)},
        {
            "q": field("codes", Signed(4), "2:4"),
            "s": field("scale", F32, "0", over=extents),
        },
        ("mul", "s", "q"),
    )
    check(layout, random_planes(layout, shape), shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 4, 7)])
def test_layouts_turned_to_another_axis(axis, shape):
    layout = int4_group(4).along(axis, 3)
    check(layout, random_planes(layout, shape), shape)
    moved = (*(n for a, n in enumerate(shape) if a != axis), shape[axis])
    assert layout.nbytes(shape) == int4_group(4).nbytes(moved)


def test_a_share_far_larger_than_the_axis_costs_nothing():
    layout = Layout(
        {"codes": Plane((1,), 1), "scale": Plane((1 << 40,), 4)},
        {
            "q": field("codes", Signed(8), "0"),
            "s": field("scale", F32, "0", over=1 << 40),
        },
        ("mul", "s", "q"),
    )
    check(layout, random_planes(layout, (3, 5)), (3, 5))


def test_layouts_with_more_axes_than_the_tensor_are_refused():
    with pytest.raises(SchemeError, match="do not fit shape"):
        DESIGN["GPTQ"].grid("qweight", (8,))
    with pytest.raises(SchemeError, match="cannot turn"):
        DESIGN["GPTQ"].along(0, 2)
    assert aligned((0,) * 8, (3, 4)) == (3, 4)


@given(st.integers(0, 2**64 - 1), st.integers(0, 255), st.integers(0, 255))
def test_each_node_is_rounded_once_and_in_order(bits, a, b):
    layout = Layout(
        {"p": Plane((1,), 10)},
        {
            "x": field("p", F32, "0"),
            "y": field("p", F32, "32"),
            "a": field("p", Unsigned(8), "64"),
            "b": field("p", Signed(8), "72"),
        },
        ("sub", ("mul", ("add", "x", "a"), "y"), ("mul", ("sub", "y", 0.1015625), "b")),
    )
    check(layout, {"p": bits.to_bytes(8, "little") + bytes([a, b])}, (1,))


@given(st.integers(0, 2**64 - 1))
@example(0)
@example(0x80000000)
@example(0x7F800000_7F800000)
@example(0x7F800000_FF800000)
@example(0x00000000_BF800000)
@example(0x40000000_00000003)
@example(0x7F7FFFFF_007FFFFF)
def test_quotients_are_rounded_once(bits):
    layout = Layout(
        {"p": Plane((1,), 8)},
        {"x": field("p", F32, "0"), "y": field("p", F32, "32")},
        ("div", "x", "y"),
    )
    check(layout, {"p": bits.to_bytes(8, "little")}, (1,))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("offset", [0.0, 1.0, 8.0, 127.0, 128.0, 129.0, 0.5, -3.0])
def test_an_integer_offset_is_the_same_by_the_shortcut(bits, offset):
    layout = Layout(
        {"p": Plane((1,), 1)}, {"q": field("p", Unsigned(bits), "0")}, ("sub", "q", offset)
    )
    check(layout, {"p": bytes(range(1 << bits))}, (1 << bits,))


def test_tables_are_looked_up():
    table = np.array([-1.5, -0.0, 1e-42, 3e38], np.float32)
    layout = Layout(
        {"p": Plane((4,), 1)},
        {"q": field("p", Unsigned(2), "4:2")},
        ("mul", ("lut", "t", "q"), 1.0),
        {"t": table},
    )
    check(layout, {"p": bytes(range(256))}, (1024,))
    table[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        layout.tables["t"][1] = 9
    assert layout.tables["t"][0] == -1.5


def test_bare_bits_pass_unchanged():
    layout = Layout({"p": Plane((1,), 4)}, {"w": field("p", F32, "0")}, "w")
    bits = np.array([0x7F800001, 0xFFC12345, 0x80000000, 1], np.uint32)
    values = evaluate(layout, {"p": bits.view(np.uint8).reshape(4, 4)}, (4,))
    assert (values.view(np.uint32) == bits).all()
