"""Rebuilt tokenizers against the ids that llama.cpp gave: see differential/golden_tokenizers.py."""

import json

import pytest
from tokenizers import Tokenizer

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.gguf_file import read_gguf
from refquant.formats.tokenizers_gguf import tokenizer_from_gguf
from refquant.formats.tokenizers_patterns import PRE_TOKENIZERS
from tests import gguf_bytes
from tests.gguf_bytes import ARRAY, BOOL, F32, I32, STRING, U32
from tests.tokenizer_texts import TEXTS
from tests.tokenizer_vocabularies import byte_level_file, load, sentencepiece_file

# llama.cpp spells the classes of these expressions with lookaheads over \p{L}, which leaves out
# the combining marks that the models' own expressions count as letters (\p{M}).
MARKED = {
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m", "a\u0300\u0301\u0302b \u0301first",
    "नमस्ते दुनिया १२३",
}  # fmt: skip
KNOWN_DIFFERENCES = {"gpt-4o": MARKED, "llama4": MARKED, "tekken": MARKED}


@pytest.fixture
def read(tmp_path):
    """The metadata of a GGUF file given by its bytes."""

    def metadata(data: bytes):
        path = tmp_path / "vocabulary.gguf"
        path.write_bytes(data)
        return read_gguf(path).metadata

    return metadata


def library(metadata) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_from_gguf(metadata).json.decode())


def differences(tokenizer: Tokenizer, texts, ids) -> set[str]:
    return {
        text
        for text, expected in zip(texts, ids, strict=True)
        if tokenizer.encode(text, add_special_tokens=False).ids != expected
    }


BYTE_LEVEL = load("byte_level")
EXPECTED = {name: group["ids"] for group in BYTE_LEVEL["groups"] for name in group["names"]}


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_byte_level_ids_are_llama_cpps(read, pre):
    tokenizer = library(read(byte_level_file(BYTE_LEVEL, pre)))
    found = differences(tokenizer, BYTE_LEVEL["texts"], EXPECTED[pre])
    assert found == KNOWN_DIFFERENCES.get(pre, set())


def test_the_texts_tell_the_ways_of_cutting_apart(read):
    """Different expressions give different ids somewhere, so none can be mistaken for another."""
    patterns_of: dict[str, set[tuple[str, ...]]] = {}
    for pre, how in PRE_TOKENIZERS.items():
        tokenizer = library(read(byte_level_file(BYTE_LEVEL, pre)))
        ids = json.dumps([tokenizer.encode(text).ids for text in TEXTS])
        patterns_of.setdefault(ids, set()).add(how.patterns)
    assert [len(patterns) for patterns in patterns_of.values()] == [1] * len(patterns_of)


@pytest.mark.parametrize("name", ["prefix", "plain"])
def test_sentencepiece_ids_are_llama_cpps(read, name):
    vocabulary = load("sentencepiece")
    data = sentencepiece_file(vocabulary, add_space_prefix=name == "prefix")
    tokenizer = library(read(data))
    assert differences(tokenizer, vocabulary["texts"], vocabulary["ids"][name]) == set()


@pytest.mark.parametrize("name", ["prefix", "plain"])
def test_sentencepiece_decodes_what_it_encoded(read, name):
    data = sentencepiece_file(load("sentencepiece"), add_space_prefix=name == "prefix")
    tokenizer = library(read(data))
    for text in TEXTS:
        if "<s>" not in text and "[INST]" not in text:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_byte_level_decodes_what_it_encoded(read):
    tokenizer = library(read(byte_level_file(BYTE_LEVEL, "smollm")))
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_smollm2_ids_are_llama_cpps(smollm2_gguf):
    vectors = load("smollm2")
    assert vectors["texts"] == list(TEXTS)
    spec = tokenizer_from_gguf(read_gguf(smollm2_gguf).metadata)
    tokenizer = Tokenizer.from_str(spec.json.decode())
    assert differences(tokenizer, TEXTS, vectors["ids"]) == set()
    assert (spec.kind, spec.bos, spec.eos, spec.add_bos) == ("bpe-bytelevel-1", 1, (0, 2), False)


def test_a_word_that_is_a_token_is_not_merged_where_the_model_says_so(read):
    """`ignore_merges`: a token that no merge makes is still found when it is a whole word."""
    vocabulary = {**BYTE_LEVEL, "tokens": [*BYTE_LEVEL["tokens"], "zqxj"], "types": [
        *BYTE_LEVEL["types"], 1]}  # fmt: skip
    last = len(vocabulary["tokens"]) - 1
    for pre in ("llama-bpe", "dbrx"):
        ids = library(read(byte_level_file(vocabulary, pre))).encode("zqxj").ids
        assert (ids == [last]) == PRE_TOKENIZERS[pre].ignore_merges


def test_a_merge_may_begin_with_a_space(read):
    """Its parts are cut at the first space behind the first character."""
    spec = spec_of(
        read,
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [" ", "b", " b"])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 1, 1])),
        ("tokenizer.ggml.merges", ARRAY, (STRING, ["  b"])),
    )
    assert json.loads(spec.json)["model"]["merges"] == [[" ", "b"]]


def test_equal_scores_keep_the_order_of_ids(read):
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc"]
    for scores, expected in (([0.0] * 8, [6, 5]), ([0.0] * 7 + [1.0], [3, 7])):
        vocabulary = {"tokens": tokens, "types": [2, 3, 3, 1, 1, 1, 1, 1], "scores": scores}
        tokenizer = library(read(sentencepiece_file(vocabulary, add_space_prefix=False)))
        assert tokenizer.encode("abc").ids == expected


def spec_of(read, *pairs, kind="gpt2"):
    """The tokenizer of a file with these metadata, over six tokens unless they say otherwise."""
    names = {name for name, *_ in pairs}
    defaults = (
        ("tokenizer.ggml.model", STRING, kind),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "ab", "<|im_end|>", "<|end|>", "x"])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 1, 1, 3, 1, 1])),
        ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"])),
        ("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * 6)),
    )
    kept = [one for one in defaults if one[0] not in names]
    return tokenizer_from_gguf(read(gguf_bytes.build([*kept, *pairs])))


def test_ends_are_the_stated_ids_and_control_tokens_known_to_end_a_turn(read):
    """`<|end|>` is an ordinary token here, so its text alone makes it no end."""
    assert spec_of(read).eos == (3,)
    assert spec_of(read, ("tokenizer.ggml.eos_token_id", U32, 5)).eos == (3, 5)
    assert spec_of(read, ("tokenizer.ggml.eot_token_id", U32, 1)).eos == (1, 3)
    tokens = ["a", "b", "<|return|>", "<|call|>", "<|end|>", "ab"]
    harmony = (
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 1, 3, 3, 3, 1])),
    )
    assert spec_of(read, *harmony).eos == (2, 3)


def test_bos_and_whether_it_is_added(read):
    none = spec_of(read)
    assert (none.bos, none.add_bos) == (None, False)
    stated = spec_of(
        read,
        ("tokenizer.ggml.bos_token_id", U32, 5),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
    )
    assert (stated.bos, stated.add_bos) == (5, True)
    assert spec_of(read, ("tokenizer.ggml.pre", STRING, "llama-bpe")).add_bos
    assert spec_of(read, ("tokenizer.ggml.bos_token_id", U32, 2**32 - 1)).bos is None
    spm = spec_of(read, kind="llama")
    assert (spm.kind, spm.bos, spm.eos, spm.add_bos) == ("bpe-sentencepiece-1", 1, (2, 3), True)


DAMAGED = {
    "no tokens": ("tokens", U32, 1),
    "tokens are numbers": ("tokens", ARRAY, (U32, [1])),
    "types too few": ("token_type", ARRAY, (I32, [1])),
    "types are texts": ("token_type", ARRAY, (STRING, ["1"] * 6)),
    "no merges": ("merges", STRING, "a b"),
    "token twice": ("tokens", ARRAY, (STRING, ["a", "b", "ab", "a", "c", "x"])),
    "merge without space": ("merges", ARRAY, (STRING, ["ab"])),
    "merge of unknown": ("merges", ARRAY, (STRING, ["a q"])),
    "merge into unknown": ("merges", ARRAY, (STRING, ["b a"])),
    "add_bos no flag": ("add_bos_token", U32, 1),
    "bos a text": ("bos_token_id", STRING, "a"),
}


@pytest.mark.parametrize("defect", DAMAGED)
def test_contradictions_are_format_errors(read, defect):
    name, kind, content = DAMAGED[defect]
    with pytest.raises(FormatError, match=f"tokenizer.ggml.{name}") as caught:
        _ = spec_of(read, (f"tokenizer.ggml.{name}", kind, content)).json
    assert caught.value.code == "E_GGUF_TOKENIZER"


def test_scores_must_be_there_for_each_token(read):
    for wrong in ((F32, [0.0]), (STRING, ["0"] * 6), (F32, [0.0] * 5 + [float("nan")])):
        with pytest.raises(FormatError, match="scores"):
            spec_of(read, ("tokenizer.ggml.scores", ARRAY, wrong), kind="llama")


def test_unknown_names_list_the_known_ones(read):
    with pytest.raises(UnsupportedError, match=r"'gpt-9'.*llama-bpe.*qwen2.*smollm"):
        spec_of(read, ("tokenizer.ggml.pre", STRING, "gpt-9"))
    with pytest.raises(UnsupportedError, match=r"'t5'.*gpt2, llama"):
        spec_of(read, kind="t5")
    charsmap = ("tokenizer.ggml.precompiled_charsmap", ARRAY, (I32, [1]))
    with pytest.raises(UnsupportedError, match="character map"):
        spec_of(read, charsmap, kind="llama")


def test_a_file_without_a_tokenizer_has_none(read):
    assert tokenizer_from_gguf({}) is None
    assert spec_of(read, kind="none") is None
