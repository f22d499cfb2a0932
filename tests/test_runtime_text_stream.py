"""Text that comes in pieces: whole characters only, and nothing of a stop text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refquant.runtime.text_stream import IncrementalDecoder, StopFilter


def decode(pieces):
    decoder = IncrementalDecoder(lambda token: pieces[token])
    parts = [decoder.add(token) for token in range(len(pieces))]
    return parts, decoder.rest()


def test_half_a_character_waits_for_its_rest():
    cut = "a😀".encode()
    parts, rest = decode([cut[:2], cut[2:4], cut[4:], b" b"])
    assert parts == ["a", "", "😀", " b"]
    assert rest == ""


def test_half_a_character_at_the_end_is_replaced():
    assert decode([b"x\xe2\x82"]) == (["x"], "\ufffd")


def test_broken_bytes_do_not_hold_back_what_follows():
    parts, rest = decode([b"\xe2", b"A", b"\xff", b"B"])
    assert parts == ["", "\ufffdA", "\ufffd", "B"]
    assert rest == ""


@given(st.lists(st.binary(max_size=3)))
def test_any_cut_gives_the_text_of_the_whole(pieces):
    parts, rest = decode(pieces)
    assert "".join(parts) + rest == b"".join(pieces).decode("utf-8", "replace")


def filtered(stops, pieces):
    stop = StopFilter(stops)
    parts = [stop.add(piece) for piece in pieces]
    return parts, stop.rest(), stop.stopped


def test_a_stop_text_over_several_pieces_never_shows():
    assert filtered(["\n\nUser:"], ["Hi", "\n", "\nUs", "er", ": more"]) == (
        ["Hi", "", "", "", ""],
        "",
        True,
    )


def test_a_false_beginning_is_given_back():
    assert filtered(["abc"], ["xab", "abd"]) == (["x", "ababd"], "", False)


def test_what_is_held_back_comes_with_the_rest():
    assert filtered(["abc"], ["xab"]) == (["x"], "ab", False)


def test_without_stop_texts_nothing_is_held_back():
    assert filtered([], ["a", "b"]) == (["a", "b"], "", False)


@pytest.mark.parametrize(("stops", "left"), [(["abc", "b"], "xa"), (["bc", "abc"], "x")])
def test_the_first_complete_stop_text_wins(stops, left):
    for pieces in (["xabc"], list("xabc"), ["xa", "bc"]):
        parts, rest, stopped = filtered(stops, pieces)
        assert ("".join(parts), rest, stopped) == (left, "", True)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_the_cut_into_pieces_does_not_matter(text, stops):
    whole = filtered(stops, [text])
    single = filtered(stops, list(text))
    assert "".join(whole[0]) + whole[1] == "".join(single[0]) + single[1]
    assert whole[2] == single[2]
