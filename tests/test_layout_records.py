"""Unpacking and packing, compiled to views, against a decoder that picks bit by bit."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refquant
from conformance.oracle import layout as oracle
from refquant.layout import (
    Digits,
    Field,
    Layout,
    Minifloat,
    Plane,
    Signed,
    Unsigned,
    field,
    pack_field,
    unpack_field,
)
from refquant.layout.records import code_dtype, is_scattered
from tests import layout_strategies

BYTES = st.binary(min_size=64, max_size=64)


def slow_codes(declared, record):
    """All codes of a field of one record, by the oracle's arithmetic on one Python integer."""
    size = len(record)
    layout = Layout(
        {"blocks": Plane((declared.count,), size)},
        {"q": Field("blocks", declared.element, (1,), declared.pieces)},
        "q",
    )
    described = layout.describe()["fields"]["q"]
    number = int.from_bytes(record, "little")
    return [oracle.code_in_record(described, number, k) for k in range(declared.count)]


def records_of(data, size):
    return np.frombuffer(data, np.uint8).reshape(-1, size).copy()


def check(declared, size, data):
    records = records_of(data, size)
    unpacked = unpack_field(declared, records)
    assert unpacked.dtype == code_dtype(declared.element)
    assert unpacked.tolist() == [slow_codes(declared, row.tobytes()) for row in records]


ODD_FIELDS = {
    "3-bit stream": field("b", Unsigned(3), "16:3+0"),
    "3-bit stream, count not a multiple of 8": field("b", Unsigned(3), "11:3+5"),
    "5-bit signed stream": field("b", Signed(5), "24:5+3"),
    "7 bits astride two bytes": field("b", Unsigned(7), "5", "13"),
    "nibbles, halves split": field("b", Unsigned(4), "(2,16):(4,8)+16"),
    "nibbles, pairs": field("b", Unsigned(4), "32:4+16"),
    "nibbles, high first": field("b", Unsigned(4), "4", "0", "12", "8"),
    "single bits in order": field("b", Unsigned(1), "32:1+16"),
    "single bits off a byte": field("b", Unsigned(1), "32:1+17"),
    "single bits backward pairs": field("b", Unsigned(1), "(4,2):(2,1)+8"),
    "AWQ": field("b", Unsigned(4), "(4,2):(4,16)"),
    "joined 4+1": field("b", Unsigned(5), ((4, "(2,16):(4,8)+48"), (1, "32:1+16"))),
    "joined 4+2, short first piece": field(
        "b", Unsigned(6), "4:8+32", ((4, "4:8+96"), (2, "4:8+38"))
    ),
    "missing high bits of a signed code": field("b", Signed(6), ((4, "8:4"),)),
    "whole 16 bits": field("b", Unsigned(16), "3:24+8"),
    "whole 32 bits at odd bytes": field("b", Minifloat(1, 8, 23, 127, "ieee"), "(2,2):(136,40)+8"),
    "16 bits off a byte": field("b", Unsigned(16), "3:24+3"),
    "24 bits": field("b", Signed(24), "(2,3):(80,24)+1"),
    "32 bits off a byte": field("b", Minifloat(1, 8, 23, 127, "ieee"), "3:33+7"),
    "joined 8+8 apart": field("b", Signed(16), ((8, "4:8"), (8, "4:8+64"))),
    "joined 1+8+8 off a byte": field("b", Unsigned(24), ((1, "0"), (8, "9"), (8, "33"))),
    "one extent of one": field("b", Unsigned(8), "(1,3):(5,8)+8"),
    "K-quant high bits": field("b", Unsigned(2), "(2,2,2,8):(256,4,2,8)"),
    "ternary digits": field("b", Digits(3, 5), "16:8+16"),
    "ternary digits, two pieces": field("b", Digits(3, 5), "4:8", "3:16+64"),
    "decimal digits": field("b", Digits(10, 2), "(2,3):(80,16)+8"),
    "digits that fill the byte": field("b", Digits(4, 4), "4:8"),
}


@pytest.mark.parametrize("name", ODD_FIELDS)
@settings(max_examples=20)
@given(data=st.binary(min_size=192, max_size=192))
@example(data=bytes(192))
@example(data=b"\xff" * 192)
def test_unpacking_agrees_bit_by_bit(name, data):
    check(ODD_FIELDS[name], 64, data)


@given(st.data())
def test_unpacking_agrees_for_random_slices(data):
    count = data.draw(st.integers(1, 24))
    base = data.draw(st.integers(0, 17))
    declared, end = data.draw(layout_strategies.placed_fields("b", count, (1,), base))
    size = -(-end // 8) + data.draw(st.integers(0, 2))
    check(declared, size, data.draw(st.binary(min_size=2 * size, max_size=2 * size)))


@given(st.data())
def test_digits_agree_for_random_slices(data):
    count = data.draw(st.sampled_from([8, 10, 40, 120]))
    declared, end = data.draw(layout_strategies.digit_fields("b", count, (1,), 3))
    size = -(-end // 8)
    check(declared, size, data.draw(st.binary(min_size=size, max_size=size)))


def test_records_may_be_any_view():
    declared = ODD_FIELDS["nibbles, halves split"]
    wide = np.arange(5 * 200, dtype=np.uint32).astype(np.uint8).reshape(5, 200)
    window = wide[::2, 7:71]
    assert (unpack_field(declared, window) == unpack_field(declared, window.copy())).all()


@given(st.data())
def test_packing_is_the_inverse_of_unpacking(data):
    layout, shape = data.draw(layout_strategies.layouts())
    planes = data.draw(layout_strategies.random_planes(layout, shape))
    for name, plane in layout.planes.items():
        if any(
            isinstance(declared.element, Digits)
            for declared in layout.fields.values()
            if declared.plane == name
        ):
            continue
        records = records_of(planes[name], plane.bytes)
        packed = np.zeros_like(records)
        for declared in layout.fields.values():
            if declared.plane == name:
                pack_field(declared, unpack_field(declared, records), packed)
        assert (packed == records & ~layout.spare_bits(name)).all()


@pytest.mark.parametrize(
    ("base", "count"), [(b, n) for b in range(2, 17) for n in range(1, 9) if b**n <= 256]
)
def test_every_number_survives_as_digits(base, count):
    element = Digits(base, count)
    declared = field("b", element, "0")
    numbers = np.arange(base**count)
    digits = np.stack([numbers // base ** (count - 1 - k) % base for k in range(count)], axis=1)
    records = np.zeros((len(numbers), 1), np.uint8)
    pack_field(declared, digits.astype(np.uint8), records)
    assert (unpack_field(declared, records) == digits).all()


@given(data=st.binary(min_size=192, max_size=192))
def test_unpacked_digits_pack_to_a_byte_of_the_same_digits(data):
    declared = ODD_FIELDS["ternary digits, two pieces"]
    codes = unpack_field(declared, records_of(data, 64))
    again = np.zeros((3, 64), np.uint8)
    pack_field(declared, codes, again)
    assert (unpack_field(declared, again) == codes).all()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_packing_takes_codes_of_any_integer_type(dtype):
    declared = field("b", Signed(5), ((3, "8:3"), (2, "8:2+24")))
    codes = np.arange(-16, 16, dtype=dtype).reshape(4, 8)
    records = np.zeros((4, 5), np.uint8)
    pack_field(declared, codes, records)
    assert (unpack_field(declared, records) == codes).all()


def test_spare_bits_are_those_that_no_field_claims():
    layout = Layout(
        {"b": Plane((2,), 3)},
        {"q": field("b", Unsigned(5), "2:6+1"), "s": field("b", Unsigned(3), "16", over=2)},
        ("mul", "s", "q"),
    )
    assert layout.spare_bits("b").tolist() == [0b0100_0001, 0b1111_0000, 0b1111_1000]


SCATTERED = {
    "single bits of prime count": field("b", Unsigned(1), "2039:1+3"),
    "odd widths at odd places": field("b", Signed(5), "1531:6+1"),
    "many ragged axes": field("b", Unsigned(3), "(11,11,11):(363,33,3)+2"),
    "joined with a regular slice": field("b", Unsigned(4), ((1, "1031:1"), (3, "1031:3+1031"))),
}


@pytest.mark.parametrize("name", SCATTERED)
def test_slices_of_very_many_places_agree_and_stay_quick(name, monkeypatch):
    declared = SCATTERED[name]
    size = 1250
    data = np.random.default_rng(6).bytes(3 * size)
    monkeypatch.setattr("refquant.layout.scattered.MOST_BITS", 16 * size)
    assert any(is_scattered(run) for piece in declared.pieces for run in piece)
    records = records_of(data, size)
    unpacked = unpack_field(declared, records)
    expected = [slow_codes(declared, row.tobytes()) for row in records]
    assert unpacked.tolist() == expected
    packed = np.zeros_like(records)
    pack_field(declared, unpacked, packed)
    assert (unpack_field(declared, packed) == unpacked).all()
    as_columns = np.zeros_like(records)
    pack_field(declared, np.asfortranarray(unpacked), as_columns)
    assert (as_columns == packed).all()


def test_no_scheme_is_scattered():
    for scheme in refquant.schemes():
        for declared in scheme.layout.fields.values():
            assert not any(is_scattered(run) for piece in declared.pieces for run in piece)
