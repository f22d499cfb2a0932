"""WordPiece, out of GGUF files and tokenizer.json: words, pieces, ends, what is unknown."""

import json

import pytest

from refquant.errors import FormatError
from refquant.formats.gguf_file import read_gguf
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from refquant.formats.tokenizers_hugging_face import tokenizer_from_hugging_face
from refquant.runtime import Tokenizer
from tests.tokenizer_vocabularies import CONTROL, NORMAL, wordpiece_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# As GGUF marks them: the start of a word, not what goes on with one.
PIECES = ["▁the", "▁cat", "s", "▁un", "▁s", "at", "▁.", "▁!", "▁東", "▁京", "able", "▁cafe"]
TYPES = [CONTROL] * len(SPECIAL) + [NORMAL] * len(PIECES)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("wordpiece") / "bert.gguf"
    path.write_bytes(wordpiece_file({"tokens": SPECIAL + PIECES, "types": TYPES}))
    return Tokenizer(tokenizer_from_gguf(read_gguf(path).metadata))


def pieces(tokenizer, text):
    names = [*SPECIAL, *PIECES]
    return [names[token] for token in tokenizer.encode_between_ends(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cats sat.", ["▁the", "▁cat", "s", "▁s", "at", "▁."]),
        ("uncats", ["[UNK]"]),
        ("CAFÉ!", ["▁cafe", "▁!"]),
        ("東京", ["▁東", "▁京"]),
        ("  the \t cat\n", ["▁the", "▁cat"]),
        ("dog", ["[UNK]"]),
        ("", []),
        ("unable", ["▁un", "able"]),
    ],
)
def test_words_become_pieces_between_the_ends(tokenizer, text, expected):
    assert pieces(tokenizer, text) == ["[CLS]", *expected, "[SEP]"]


def test_pieces_become_words_again(tokenizer):
    assert tokenizer.decode(tokenizer.encode_between_ends("the cats sat.")) == "the cats sat ."
    assert (tokenizer.spec.kind, tokenizer.bos, tokenizer.eos) == ("wordpiece-1", 2, (3,))


def test_the_same_file_as_tokenizer_json_encodes_alike(tokenizer):
    spec = tokenizer_from_hugging_face(tokenizer.spec.json, {}, {"cls_token": "[CLS]"}, {})
    again = Tokenizer(spec)
    text = "The uncats of 東京!"
    assert spec.kind == "wordpiece-1"
    assert again.encode_between_ends(text) == tokenizer.encode_between_ends(text)


def test_padding_and_truncation_of_a_file_are_left_out(tokenizer):
    document = json.loads(tokenizer.spec.json)
    document["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    document["truncation"] = {
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    padded = Tokenizer(tokenizer_from_hugging_face(json.dumps(document).encode(), {}, {}, {}))
    assert len(padded.encode_between_ends("the cat sat.")) == 6 + 2 - 1


def test_a_vocabulary_without_ends_is_refused(tmp_path):
    path = tmp_path / "bert.gguf"
    path.write_bytes(wordpiece_file({"tokens": ["a", "b"], "types": [1, 1]}, ends=False))
    with pytest.raises(FormatError, match="ends of a text"):
        tokenizer_from_gguf(read_gguf(path).metadata)
