"""RQ-MP1: the byte strings of its chapter, and what holds for all byte strings."""

import ast
import re
import string

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refquant import mp1
from refquant.errors import FormatError
from refquant.mp1 import MAX_DEPTH, MAX_INTEGER, MAX_VALUES, decode, encode, normalized
from tests.conftest import REPOSITORY

CHAPTER = REPOSITORY / "spec" / "03-rq-mp1.md"


def lines():
    text = CHAPTER.read_text("utf-8")
    _, block = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for line in block.splitlines():
        spelled, _, meaning = line.partition(" ")
        yield bytes.fromhex(spelled), meaning.strip()


ACCEPTED = [(data, ast.literal_eval(m)) for data, m in lines() if not m.startswith("E_")]
REFUSED = [(data, meaning) for data, meaning in lines() if meaning.startswith("E_")]


def same(one, other):
    """Equal in value and in type, at every depth: 3 is not 3.0, nor 1 True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize(("data", "value"), ACCEPTED, ids=lambda v: repr(v)[:24])
def test_accepted_byte_strings(data, value):
    assert same(decode(data), value)
    assert encode(value) == data


@pytest.mark.parametrize(("data", "code"), REFUSED, ids=lambda v: repr(v)[:24])
def test_refused_byte_strings(data, code):
    with pytest.raises(FormatError) as error:
        decode(data)
    assert error.value.code == code


def test_every_code_of_the_reader_has_a_byte_string():
    source = (REPOSITORY / "refquant" / "mp1.py").read_text("utf-8")
    raised = set(re.findall(r"E_MP_[A-Z0-9]+", source))
    assert raised == {code for _, code in REFUSED} | {"E_MP_LIMIT"}
    assert raised == set(re.findall(r"E_MP_[A-Z0-9]+", CHAPTER.read_text("utf-8")))


def assert_refused_or_canonical(data):
    try:
        found = decode(data)
    except FormatError as refusal:
        found = refusal
    if isinstance(found, FormatError):
        assert found.code.startswith("E_MP_")
        assert 0 <= found.offset <= len(data)
    else:
        assert encode(found) == data


keys = st.text(string.ascii_lowercase + string.digits + "_.-", max_size=6).map("k".__add__)
scalars = (
    st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0 or 0.0)
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=20),
    max_leaves=40,
)


@given(values)
@settings(max_examples=150, deadline=None)
def test_round_trip_and_second_reader(value):
    data = encode(value)
    assert encode(decode(data)) == data
    assert decode(data) == value
    assert msgpack.unpackb(data) == value


@given(values, st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_accepted_is_canonical(value, draw):
    data = bytearray(encode([value, value]))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert_refused_or_canonical(data)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused_or_canonical(data):
    assert_refused_or_canonical(data)


@given(values)
@settings(max_examples=60, deadline=None)
def test_truncation_is_refused(value):
    data = encode([value])
    for end in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:end])


def test_insertion_order_does_not_matter():
    assert encode({"b": 1, "a": (2, {"d": 0, "c": 0})}) == encode(
        {"a": [2, {"c": 0, "d": 0}], "b": 1}
    )


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth():
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(ValueError, match="deeper"):
        encode(nested(MAX_DEPTH + 1))
    with pytest.raises(FormatError) as error:
        decode(b"\x91" * 100_000 + b"\x00")
    assert error.value.code == "E_MP_DEPTH"
    assert error.value.offset == MAX_DEPTH


def test_number_of_values(monkeypatch):
    # The limit itself would need megabytes; its rule is the same for a small one.
    monkeypatch.setattr(mp1, "MAX_VALUES", 6)
    assert decode(encode({"a": 1, "b": [2]})) == {"a": 1, "b": [2]}
    for value in ({"a": 1, "b": [2, 3]}, [1, 2, 3, 4, 5, 6], [[], [[1], [1]]]):
        data = msgpack.packb(value)
        with pytest.raises(FormatError) as error:
            decode(data)
        assert error.value.code == "E_MP_LIMIT"
        with pytest.raises(ValueError, match="more than 6 values"):
            encode(value)


def test_a_count_is_not_believed():
    count = MAX_VALUES + 1
    with pytest.raises(FormatError) as error:
        decode(b"\xdd" + count.to_bytes(4, "big") + bytes(count))
    assert error.value.code == "E_MP_LIMIT"


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1j, 2**53, -(2**53), float("nan"), float("inf"), -0.0, "\ud800", [object()]),
        *({1: 2}, {"A": 1}, {"": 1}, {"é": 1}, {"a" * 65: 1}, {"a": {"b": None}}),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", ascii(value)),
)
def test_values_without_spelling(value):
    with pytest.raises(ValueError, match=r"^\$"):
        encode(value)


def test_places_count_from_the_origin():
    with pytest.raises(FormatError) as error:
        decode(b"\x91\xc0", where="header", origin=192)
    assert error.value.offset == 193
    assert error.value.where == "header"


def test_a_refused_value_is_found_again():
    for value, place in (
        ({"a": [0, {"b": (1, 2, None)}]}, r"\$\.a\[1\]\.b\[2\]: NoneType"),
        ({"a": [0, {"b": {"C": 1}}]}, r"\$\.a\[1\]\.b: key 'C'"),
        (None, r"\$: NoneType"),
    ):
        with pytest.raises(ValueError, match=place):
            encode(value)


def test_a_key_that_is_cut_off_is_not_a_shorter_one():
    """`a` is known from before; here a key of two bytes ends after its first."""
    with pytest.raises(FormatError) as error:
        decode(b"\x82\xa1a\x81\xa1a\x01\xa2a")
    assert error.value.code == "E_MP_TRUNC"


def test_what_is_normalized_is_what_comes_back():
    value = {"b": (1, [2.5, "x"]), "a": {"d": b"y", "c": True}}
    assert normalized(value) == decode(encode(value)) == {**value, "b": [1, [2.5, "x"]]}
    assert list(normalized(value)) == ["a", "b"]
