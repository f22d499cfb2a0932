"""The text of a `tokenizer.json`, built as data for the two kinds of vocabulary that GGUF carries.

The `tokenizers` library reads the result; nothing here imports it. Both kinds are byte-pair
encoding. They differ in what stands for a space and for bytes that are no token: the byte-level
kind writes every byte as a printable letter and never meets an unknown one, the SentencePiece kind
writes a space as U+2581 and spells unknown characters in byte tokens such as `<0x0A>`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from refquant.formats.tokenizers_patterns import PreTokenizer

__all__ = ["byte_level_json", "merges_from_scores", "sentencepiece_json", "wordpiece_json"]

Merge = tuple[str, str]

SPACE_MARK: Final = "\u2581"


def byte_level_json(
    vocabulary: Mapping[str, int],
    merges: Sequence[Merge],
    added: Sequence[tuple[int, str, bool]],
    pre_tokenizer: PreTokenizer,
) -> bytes:
    """A tokenizer over bytes: cut into words, write bytes as letters, merge.

    `added` lists tokens that are found in a text before anything else: id, text, and whether it
    is special, that is, not part of the text that people see.
    """
    cuts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in pre_tokenizer.patterns
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    model = _bpe(vocabulary, merges, ignore_merges=pre_tokenizer.ignore_merges)
    return _document(
        added,
        model,
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [*cuts, {**byte_level, "use_regex": False}],
        },
        decoder={**byte_level, "use_regex": True},
    )


def sentencepiece_json(
    vocabulary: Mapping[str, int],
    merges: Sequence[Merge],
    added: Sequence[tuple[int, str, bool]],
    unknown: str | None,
    *,
    add_space_prefix: bool,
) -> bytes:
    """A tokenizer over characters: mark spaces, merge the whole text, spell the rest in bytes.

    With `add_space_prefix` each stretch of text between added tokens starts with a space that
    was not written, and decoding takes one away again.
    """
    mark = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    prefix = [{"type": "Prepend", "prepend": SPACE_MARK}] if add_space_prefix else []
    unmark = {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if add_space_prefix else []
    has_bytes = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    model = _bpe(vocabulary, merges, unknown=unknown, byte_fallback=has_bytes)
    return _document(
        added,
        model,
        normalizer={"type": "Sequence", "normalizers": [*prefix, mark]},
        decoder={
            "type": "Sequence",
            "decoders": [unmark, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
    )


def wordpiece_json(
    vocabulary: Mapping[str, int],
    added: Sequence[tuple[int, str, bool]],
    unknown: str,
    ends: tuple[str, str],
) -> bytes:
    """BERT's tokenizer of uncased text; pieces that go on with a word begin with `##`.

    `ends` are the tokens before and behind a text that is encoded with special tokens.
    """
    # What BERT's own code does with uncased models, and its longest word.
    model = {
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    return _document(
        added,
        model,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=_between(vocabulary, ends),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


def _between(vocabulary: Mapping[str, int], ends: tuple[str, str]) -> dict[str, object]:
    """The step that puts a token before a text and one behind it."""
    start, stop = ends
    tokens = {text: {"id": text, "ids": [vocabulary[text]], "tokens": [text]} for text in ends}
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": start, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": stop, "type_id": 0}},
        ],
        "pair": [],
        "special_tokens": tokens,
    }


def merges_from_scores(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[Merge]:
    """Every way to put two tokens together into a third, best score of the third first.

    SentencePiece merges the neighbours whose joined piece has the highest score; a rank list of
    all such pairs says the same to a merger that knows ranks only. Pieces of equal score keep the
    order of their ids, and one piece's pairs the order of the place where they are joined.
    """
    ranked = sorted(scores, key=lambda piece: (-scores[piece], vocabulary[piece]))
    return [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]


def _bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[Merge],
    *,
    unknown: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, object]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unknown is not None,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocabulary,
        "merges": merges,
    }


def _document(
    added: Sequence[tuple[int, str, bool]],
    model: Mapping[str, object],
    *,
    decoder: Mapping[str, object],
    normalizer: Mapping[str, object] | None = None,
    pre_tokenizer: Mapping[str, object] | None = None,
    post_processor: Mapping[str, object] | None = None,
) -> bytes:
    exact = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": text, **exact, "special": special}
            for token, text, special in added
        ],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
