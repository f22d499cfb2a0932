"""The rules of descriptors: every code is reached, and what passes survives as data."""

import copy
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refquant
from refquant import mp1
from refquant.driver import decode_planes
from refquant.errors import FormatError, SchemeError
from refquant.layout import (
    Digits,
    Layout,
    Minifloat,
    Plane,
    Signed,
    Slice,
    Unsigned,
    field,
    slice_at,
)
from refquant.schemes import scheme_of_layout
from tests import layout_strategies
from tests.test_layout_values import DESIGN

Q4_0 = refquant.scheme("ggml/q4_0").layout.describe()
TABLE = Layout(
    {"p": Plane((4,), 1)},
    {"q": field("p", Unsigned(2), "4:2")},
    ("lut", "t", "q"),
    {"t": np.array([-1, 0, 1, 2], np.float32)},
).describe()
GOLDEN = {
    "float/f32": "79938629973d417ed955fb5948bdf87f",
    "float/f16": "bbdba4074cbc38dc65769e86bcdf10b3",
    "float/bf16": "da3436559c1743d6f98049f898f90945",
    "ggml/q4_0": "6f18c64554fb1f4594f07dd694de2e59",
    "ggml/q4_1": "140575aa263aa2208f6bdc16e3c0ce81",
    "ggml/q8_0": "0b6eecf1fdc7ff0250715c06665e61fc",
    "int/affine[bits=8,sym,channel]": "006e84d8710cb1a1428143fe0f8b0988",
    "int/affine[bits=4,sym,group=32]": "b682877f7ac03a9968faae68b9f395cc",
}


def changed(base, path, value):
    """A copy of a description with the item at `path` replaced, or removed where None."""
    data = copy.deepcopy(base)
    *parents, last = path
    place = data
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


def deep(levels):
    value = "q"
    for _ in range(levels):
        value = ["add", value, "d"]
    return value


def slices(*runs):
    return [list(runs)]


E5M2 = {"k": "f", "s": 1, "e": 5, "m": 2, "bias": 15, "sp": "ieee"}
REFUSED = [
    ("E_DESC_OVERLAP", ["fields", "q", "at"], [[[4, 16, [2, 16], [4, 7]]]]),
    ("E_DESC_OVERLAP", ["fields", "q", "at"], [[[4, 16, [2, 16], [4, 0]]]]),
    ("E_DESC_OVERLAP", ["fields", "q", "at"], [[[4, 15, [2, 16], [4, 8]]]]),
    ("E_DESC_VERSION", ["rqd"], 2),
    ("E_DESC_VERSION", ["rqd"], True),
    ("E_DESC_VERSION", ["rqd"], 1.0),
    ("E_SCHEMA_MISSING", ["value"], None),
    ("E_SCHEMA_UNKNOWN", ["comment"], "hello"),
    ("E_SCHEMA_UNKNOWN", ["planes", "blocks", "color"], 1),
    ("E_SCHEMA_TYPE", ["planes"], []),
    ("E_SCHEMA_TYPE", ["fields", "q"], []),
    ("E_SCHEMA_TYPE", ["fields", "q", "elem"], 4),
    ("E_SCHEMA_TYPE", ["fields", "q", "elem", "b"], True),
    ("E_SCHEMA_TYPE", ["fields", "q", "at"], {}),
    ("E_SCHEMA_TYPE", ["fields", "q", "at"], [[]]),
    ("E_SCHEMA_TYPE", ["fields", "q", "at"], slices([4, 0, [32]])),
    ("E_SCHEMA_TYPE", ["planes", "blocks", "bytes"], 18.0),
    ("E_SCHEMA_TYPE", ["planes", "blocks", "block"], [True]),
    ("E_LIMIT", ["fields", "q", "at"], [[[4, 0, [], []]]] * 65),
    ("E_LIMIT", ["planes"], {f"p{i}": {"block": [32], "bytes": 18} for i in range(17)}),
    ("E_DESC_OP", ["value"], ["pow", "d", "q"]),
    ("E_DESC_EXPR", ["value"], ["div", "d"]),
    ("E_DESC_EXPR", ["value"], ["div", "d", "q", "q"]),
    ("E_DESC_EXPR", ["value"], ["mul", "d"]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", "q", "q"]),
    ("E_DESC_EXPR", ["value"], []),
    ("E_DESC_EXPR", ["value"], 3),
    ("E_DESC_EXPR", ["value"], ["mul", "d", "nothing"]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", float("inf")]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", float("nan")]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", -0.0]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", 0.1]),
    ("E_DESC_EXPR", ["value"], ["mul", "d", 1e300]),
    ("E_DESC_EXPR", ["value"], deep(8)),
    ("E_DESC_EXPR", ["value"], deep(5000)),
    ("E_DESC_EXPR", ["value"], ["mul", "d", ["lut", "t", "q"]]),
    ("E_DESC_EXPR", ["value"], ["lut", "t", ["add", "q", "d"]]),
    ("E_DESC_EXPR", ["fields", "q", "plane"], "nowhere"),
    ("E_DESC_UNUSED", ["value"], "q"),
    ("E_DESC_UNUSED", ["planes", "more"], {"block": [32], "bytes": 1}),
    ("E_DESC_UNUSED", ["tables"], {"t": bytes(64)}),
    ("E_DESC_ELEM", ["fields", "q", "elem", "b"], 0),
    ("E_DESC_ELEM", ["fields", "q", "elem", "b"], 25),
    ("E_DESC_ELEM", ["fields", "q", "elem"], {"k": "x"}),
    ("E_DESC_ELEM", ["fields", "q", "elem"], {"k": []}),
    ("E_DESC_ELEM", ["fields", "q", "elem"], {"k": "i", "b": 1}),
    ("E_DESC_ELEM", ["fields", "q", "elem"], {"k": "d", "base": 3, "n": 6}),
    ("E_DESC_ELEM", ["fields", "q", "elem"], {"k": "d", "base": 1, "n": 1}),
    ("E_DESC_ELEM", ["fields", "d", "elem", "sp"], "posit"),
    ("E_DESC_ELEM", ["fields", "d", "elem", "e"], 4),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "m": 1}),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "e": 8, "m": 7, "bias": 126}),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "e": 8, "m": 7, "bias": 144}),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "e": 8, "m": 23, "bias": 100}),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "s": 2, "m": 1}),
    ("E_DESC_ELEM", ["fields", "d", "elem"], {**E5M2, "sp": "e8m0"}),
    ("E_DESC_RANK", ["planes", "blocks", "block"], [2, 16]),
    ("E_DESC_BLOCK", ["planes", "blocks", "block"], [-1]),
    ("E_DESC_BLOCK", ["planes", "blocks", "block"], [1 << 41]),
    ("E_DESC_BLOCK", ["planes", "blocks", "block"], [1, 32]),
    ("E_DESC_BLOCK", ["planes", "blocks", "block"], []),
    ("E_DESC_BLOCK", ["planes", "blocks", "block"], [1] * 9),
    ("E_DESC_BLOCK", ["planes", "blocks", "bytes"], 0),
    ("E_DESC_BLOCK", ["planes", "blocks", "bytes"], 65537),
    ("E_DESC_BLOCK", ["fields", "d", "over"], [0]),
    ("E_DESC_BLOCK", ["fields", "d", "over"], [5]),
    ("E_DESC_PERM", ["planes", "blocks", "order"], [0]),
    ("E_DESC_PERM", ["planes", "blocks", "order"], [1, 0]),
    ("E_DESC_PERM", ["planes", "blocks", "order"], [1, 1]),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([4, 0, [32], []])),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([4, 16, [31], [4]])),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([4, 17, [32], [4]])),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([5, 0, [32], [4]])),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([2, 0, [32], [2]], [2, 0, [31], [2]])),
    ("E_DESC_SLICE", ["fields", "q", "at"], slices([4, 0, [1 << 19, 1 << 19], [0, 0]])),
    ("E_DESC_SLICE", ["fields", "q", "elem"], {"k": "d", "base": 2, "n": 1}),
]


@pytest.mark.parametrize(("code", "path", "value"), REFUSED)
def test_rules_refuse_with_their_code(code, path, value):
    with pytest.raises(FormatError) as raised:
        Layout.parse(changed(Q4_0, path, value), "$.core.schemes[0]")
    assert raised.value.code == code
    assert raised.value.where.startswith("$.core.schemes[0]" if code[2] == "S" else "$")


@pytest.mark.parametrize(
    ("code", "path", "value"),
    [
        ("E_DESC_TABLE", ["tables", "t"], bytes(12)),
        ("E_DESC_TABLE", ["tables", "t"], bytes(20)),
        ("E_DESC_TABLE", ["tables", "t"], bytes(15)),
        ("E_DESC_TABLE", ["tables", "t"], b""),
        ("E_DESC_TABLE", ["tables", "t"], b"\0\0\xc0\x7f" * 4),
        ("E_DESC_TABLE", ["tables", "t"], b"\0\0\x80\x7f" * 4),
        ("E_SCHEMA_TYPE", ["tables", "t"], "text"),
        ("E_DESC_EXPR", ["fields", "q", "elem"], {"k": "i", "b": 2}),
        ("E_DESC_EXPR", ["value"], ["lut", "u", "q"]),
        ("E_DESC_UNUSED", ["value"], "q"),
    ],
)
def test_rules_on_tables(code, path, value):
    with pytest.raises(FormatError) as raised:
        Layout.parse(changed(TABLE, path, value))
    assert raised.value.code == code


def test_shares_of_one_axis_divide_one_another():
    fields = {
        "a": field("p", Signed(8), "6:8", over=2),
        "b": field("p", Signed(8), "4:8+48", over=3),
    }
    with pytest.raises(FormatError, match="2 and 3 weights") as raised:
        Layout({"p": Plane((12,), 10)}, fields, ("mul", "a", "b"))
    assert raised.value.code == "E_DESC_BLOCK"


def test_every_code_of_descriptors_is_reached(repository):
    folder = repository / "refquant" / "layout"
    raised = {
        word
        for path in folder.glob("*.py")
        for word in path.read_text("utf-8").replace('"', " ").split()
        if word.startswith("E_DESC_")
    }
    tested = {code for code, _, _ in REFUSED} | {"E_DESC_TABLE"}
    assert raised == {code for code in tested if code.startswith("E_DESC_")}


def test_the_chapter_names_every_code(repository):
    page = (repository / "spec" / "05-descriptors.md").read_text("utf-8")
    # Operators stand beside a layout; tests/test_rq_operators.py refuses theirs.
    tested = {code for code, _, _ in REFUSED} | {"E_DESC_TABLE", "E_DESC_OPS"}
    assert tested <= set(re.findall(r"E_[A-Z_]+", page))
    assert set(re.findall(r"E_DESC_[A-Z_]+", page)) <= tested
    found = sorted(int(n) for n in re.findall(r"\*\*D-(\d+)\*\*", page))
    assert found == list(range(1, len(found) + 1))


@given(layout_strategies.layouts())
def test_descriptions_survive_as_bytes(drawn):
    layout, shape = drawn
    data = mp1.encode(layout.describe())
    again = Layout.parse(mp1.decode(data))
    assert again == layout
    assert hash(again) == hash(layout)
    assert again.planes == layout.planes
    assert again.fields == layout.fields
    assert again.value == layout.value
    assert mp1.encode(again.describe()) == data
    assert again.nbytes(shape) == layout.nbytes(shape)


JUNK = st.one_of(
    st.integers(-2, 40),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=3),
    st.binary(max_size=16),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 40), max_size=3),
    st.sampled_from(["q", "s", "z", "add", "lut", "blocks", ["mul", "q", "q"], ["sub", "q", 8.0]]),
)


def places_in(data, path=()):
    """Paths of all parts of plain data."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from places_in(value, (*path, key))
        else:
            yield (*path, key)


@settings(max_examples=400)
@given(layout_strategies.layouts(), st.data())
def test_damaged_descriptions_are_refused_or_decode(drawn, data):
    layout, shape = drawn
    description = copy.deepcopy(layout.describe())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places_in(description) if p]))
        description = changed(description, path, data.draw(JUNK))
    try:
        damaged = Layout.parse(description)
    except FormatError:
        return
    try:
        sizes = {name: damaged.plane_nbytes(name, shape) for name in damaged.planes}
    except SchemeError:
        return
    planes = {
        name: np.zeros((*damaged.grid(name, shape), damaged.planes[name].bytes), np.uint8)
        for name in sizes
    }
    assert decode_planes(damaged, planes, shape).shape == shape


@pytest.mark.parametrize("name", DESIGN)
def test_the_layouts_of_the_design_survive(name):
    layout = DESIGN[name]
    assert Layout.parse(mp1.decode(mp1.encode(layout.describe()))) == layout
    assert scheme_of_layout(layout).digest == layout.digest


@pytest.mark.parametrize("name", GOLDEN)
def test_digests_never_change(name):
    # A digest is what a file stores: a change here makes old files strangers.
    assert refquant.scheme(name).digest[:32] == GOLDEN[name]


def test_insertion_order_and_names_of_tensors_do_not_matter():
    fields = dict(reversed(Q4_0["fields"].items()))
    assert Layout.parse({**Q4_0, "fields": fields}).digest == refquant.scheme("q4_0").digest


def test_slices_are_written_in_one_notation():
    assert slice_at(4, "(2,16):(4,8)+16") == Slice(4, 16, (2, 16), (4, 8))
    assert slice_at(1, "32:1+16") == Slice(1, 16, (32,), (1,))
    assert slice_at(16, "0") == Slice(16, 0, (), ())
    assert slice_at(8, "( 2, 3 ):( 80, 16 )") == Slice(8, 0, (2, 3), (80, 16))
    assert list(slice_at(4, "(2,2):(4,16)+8").starts()) == [8, 24, 12, 28]
    for wrong in ("", "x", "2:", ":4", "(2,3):4", "-1", "2:4+", "2:4:8"):
        with pytest.raises(ValueError, match="slice"):
            slice_at(4, wrong)


@pytest.mark.parametrize(
    ("element", "bits"),
    [
        (Unsigned(5), 5),
        (Signed(3), 3),
        (Digits(3, 5), 8),
        (Minifloat(1, 4, 3, 7, "fn"), 8),
    ],
)
def test_widths_of_elements(element, bits):
    assert element.bits == bits


def test_layouts_cannot_be_changed():
    layout = refquant.scheme("q4_0").layout
    with pytest.raises(AttributeError):
        layout.value = "d"
    with pytest.raises(TypeError):
        layout.planes["x"] = Plane((1,), 1)
    assert layout != "q4_0"
