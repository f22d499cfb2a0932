"""Tokenizers of both kinds: ids, bytes of tokens, spaces and broken characters."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import TokenizerSpec
from refquant.runtime.tokenizer import Tokenizer, _byte_level_alphabet
from tests.runtime_tokenizers import byte_level, sentencepiece


@pytest.fixture(scope="module", params=[byte_level, sentencepiece])
def tokenizer(request):
    return Tokenizer(request.param())


def test_the_byte_alphabet_is_the_librarys():
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = _byte_level_alphabet()
    assert sorted(alphabet) == sorted(ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    # The space and the line break, whose stand-ins everybody knows.
    assert (alphabet["Ġ"], alphabet["Ċ"]) == (0x20, 0x0A)


@given(text=st.text(max_size=20))
@pytest.mark.parametrize("kind", [byte_level, sentencepiece])
def test_every_text_survives(kind, text):
    tokenizer = Tokenizer(kind())
    if not any(special in text for special in ("<s>", "</s>")):
        assert tokenizer.decode(tokenizer.encode(text, add_bos=False)) == text


def test_a_continuation_keeps_its_leading_space(tokenizer):
    ids = tokenizer.encode("is Paris", add_bos=False)
    cut = len(tokenizer.encode("is", add_bos=False))
    decoder = tokenizer.decoder()
    assert "".join(decoder.add(token) for token in ids[cut:]) == " Paris"


def test_characters_that_come_byte_by_byte_are_whole(tokenizer):
    text = "€😀é"
    decoder = tokenizer.decoder()
    parts = [decoder.add(token) for token in tokenizer.encode(text, add_bos=False)]
    assert "".join(parts).removeprefix(" ") == text
    assert not any("\ufffd" in part for part in parts)


def test_bos_follows_the_policy_and_is_never_doubled(tokenizer):
    bos = tokenizer.bos
    plain = tokenizer.encode("ab", add_bos=False)
    assert tokenizer.encode("ab", add_bos=True) == [bos, *plain]
    assert (tokenizer.encode("ab")[0] == bos) is tokenizer.spec.add_bos
    assert tokenizer.encode("<s>ab", add_bos=True).count(bos) == 1


def test_special_tokens_and_unknown_ids_have_no_text(tokenizer):
    assert tokenizer.token_bytes(tokenizer.bos) == b""
    for unknown in (10**6, -1, 2**32, 2**64):
        assert tokenizer.token_bytes(unknown) == b""


def test_an_unknown_kind_is_unsupported():
    spec = byte_level()
    other = TokenizerSpec("unigram-1", spec.json, spec.bos, spec.eos, spec.add_bos)
    with pytest.raises(UnsupportedError, match="unigram-1"):
        Tokenizer(other)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", json.dumps({"model": 3}).encode()])
def test_a_broken_tokenizer_is_a_format_error(text):
    with pytest.raises(FormatError, match="E_TOKENIZER"):
        Tokenizer(TokenizerSpec("bpe-bytelevel-1", text, None, (), False))


def test_a_tokenizer_that_fails_on_a_text_is_a_format_error():
    """The library's Rust code panics where a regular expression goes back too often."""
    document = json.loads(byte_level().json)
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    document["pre_tokenizer"] = split | {"invert": False}
    text = json.dumps(document).encode()
    tokenizer = Tokenizer(TokenizerSpec("bpe-bytelevel-1", text, None, (), False))
    with pytest.raises(FormatError, match="E_TOKENIZER"):
        tokenizer.encode("a" * 40 + "b")


def test_half_of_a_surrogate_pair_is_no_text(tokenizer):
    with pytest.raises(UsageError, match=r"character 1 is '\\udcff'"):
        tokenizer.encode("a\udcff")
