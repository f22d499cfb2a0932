"""A GGUF file's tokenizer: from its metadata arrays to a `TokenizerSpec`.

Three of GGUF's kinds are read. `gpt2` is byte-level byte-pair encoding with its merges; `llama` is
SentencePiece's byte-pair encoding, which has scores instead of merges; `bert` is WordPiece of
uncased text. Arrays stay packed in the file until the `tokenizer.json` is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.checkpoint import TokenizerSpec
from refquant.formats.gguf_metadata import GgufArray
from refquant.formats.tokenizers_json import (
    SPACE_MARK,
    Merge,
    byte_level_json,
    merges_from_scores,
    sentencepiece_json,
    wordpiece_json,
)
from refquant.formats.tokenizers_patterns import pre_tokenizer_named

__all__ = ["tokenizer_from_gguf"]

# Token types of the format, from SentencePiece: 1 normal, 5 unused, and these.
UNKNOWN: Final = 2
CONTROL: Final = 3
USER_DEFINED: Final = 4
BYTE: Final = 6

# Texts of control tokens that end a turn or a document in one model or another. Files name one
# end-of-text id; without these a chat model would talk on past its own answer.
ENDINGS: Final = frozenset(
    {
        "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>",
        "<|return|>", "<|call|>", "<end_of_turn>", "<end_of_utterance>", "<EOT>", "[EOT]",
        "</s>", "<eos>", "<｜end▁of▁sentence｜>",
    }
)  # fmt: skip

# SentencePiece's own ids, which the format gives to `llama` files that state none.
LLAMA_UNKNOWN: Final = 0
LLAMA_BOS: Final = 1
LLAMA_EOS: Final = 2

# The ids of [CLS], [SEP] and [UNK] in BERT's own vocabulary, for `bert` files that state none.
BERT_FIRST: Final = 101
BERT_LAST: Final = 102
BERT_UNKNOWN: Final = 100


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> TokenizerSpec | None:
    """The tokenizer in a GGUF file's metadata, or None if the file has none.

    FormatError E_GGUF_TOKENIZER if its parts contradict each other; UnsupportedError for a kind
    or a pre-tokenizer that this version does not know.
    """
    model = metadata.get("tokenizer.ggml.model")
    if model is None or model in ("none", "no_vocab"):
        return None
    reader = _READERS.get(model) if isinstance(model, str) else None
    if reader is None:
        raise UnsupportedError(
            f"the tokenizer kind {model!r} (tokenizer.ggml.model) is not known; "
            f"known are {', '.join(_READERS)}",
            code="E_GGUF_TOKENIZER_KIND",
        )
    return reader(metadata)


def _read_byte_level(metadata: Mapping[str, object]) -> TokenizerSpec:
    name = metadata.get("tokenizer.ggml.pre", "default")
    pre_tokenizer = pre_tokenizer_named(name if isinstance(name, str) else repr(name))
    tokens, types = _tokens(metadata), _types(metadata)
    merges = _strings(metadata, "tokenizer.ggml.merges")

    def build() -> bytes:
        vocabulary = _vocabulary(tokens)
        pairs = _pairs(merges, vocabulary)
        return byte_level_json(vocabulary, pairs, _added(vocabulary, types), pre_tokenizer)

    return TokenizerSpec(
        kind="bpe-bytelevel-1",
        json=build,
        bos=_token_id(metadata, "bos", tokens),
        eos=_endings(metadata, tokens, types),
        add_bos=_flag(metadata, "add_bos_token", default=pre_tokenizer.add_bos),
    )


def _read_sentencepiece(metadata: Mapping[str, object]) -> TokenizerSpec:
    if metadata.get("tokenizer.ggml.precompiled_charsmap") is not None:
        raise UnsupportedError(
            "the tokenizer normalizes with a compiled character map "
            "(tokenizer.ggml.precompiled_charsmap), which is not read here"
        )
    tokens, types = _tokens(metadata), _types(metadata)
    scores = _numbers(metadata, "tokenizer.ggml.scores", len(tokens))
    if not np.isfinite(scores).all():
        raise _error("tokenizer.ggml.scores", "holds a score that is not finite")
    unknown = _token_id(metadata, "unknown", tokens, LLAMA_UNKNOWN)
    prefix = _flag(metadata, "add_space_prefix", default=True)

    def build() -> bytes:
        vocabulary = _vocabulary(tokens)
        pieces = _scored_pieces(vocabulary, types, scores)
        return sentencepiece_json(
            vocabulary,
            merges_from_scores(vocabulary, pieces),
            _added(vocabulary, types),
            None if unknown is None else str(tokens[unknown]),
            add_space_prefix=prefix,
        )

    return TokenizerSpec(
        kind="bpe-sentencepiece-1",
        json=build,
        bos=_token_id(metadata, "bos", tokens, LLAMA_BOS),
        eos=_endings(metadata, tokens, types, LLAMA_EOS),
        add_bos=_flag(metadata, "add_bos_token", default=True),
    )


def _read_wordpiece(metadata: Mapping[str, object]) -> TokenizerSpec:
    """Tokens that begin a word are marked in the file, where BERT marks those that go on with one.

    Special tokens and the unknown one bear no mark.
    """
    tokens, types = _tokens(metadata), _types(metadata)
    ids = {
        name: _token_id(metadata, name, tokens, default)
        for name, default in (
            ("bos", BERT_FIRST),
            ("seperator", BERT_LAST),
            ("unknown", BERT_UNKNOWN),
        )
    }
    if None in ids.values():
        raise _error("tokenizer.ggml.tokens", "holds no tokens for the ends of a text")
    first, last, unknown = (int(token or 0) for token in ids.values())

    def build() -> bytes:
        special = {first, last, unknown, *np.flatnonzero(types == CONTROL).tolist()}
        texts = {
            (text if index in special else _wordpiece(text)): index
            for text, index in _vocabulary(tokens).items()
        }
        names = {index: text for text, index in texts.items()}
        added = [(index, names[index], True) for index in sorted(special)]
        return wordpiece_json(texts, added, names[unknown], (names[first], names[last]))

    return TokenizerSpec(kind="wordpiece-1", json=build, bos=first, eos=(last,), add_bos=True)


def _wordpiece(text: str) -> str:
    return text[1:] if text.startswith(SPACE_MARK) else f"##{text}"


_READERS: Final[Mapping[str, Callable[[Mapping[str, object]], TokenizerSpec]]] = {
    "gpt2": _read_byte_level,
    "llama": _read_sentencepiece,
    "bert": _read_wordpiece,
}


def _error(key: str, problem: str) -> FormatError:
    return FormatError("E_GGUF_TOKENIZER", f"{key} {problem}", where=key)


def _strings(metadata: Mapping[str, object], key: str) -> GgufArray:
    value = metadata.get(key)
    if not isinstance(value, GgufArray) or not value.is_text:
        raise _error(key, f"is {value!r:.60}, expected an array of strings")
    return value


def _tokens(metadata: Mapping[str, object]) -> GgufArray:
    return _strings(metadata, "tokenizer.ggml.tokens")


def _numbers(metadata: Mapping[str, object], key: str, count: int) -> NDArray[np.generic]:
    value = metadata.get(key)
    if not isinstance(value, GgufArray) or value.is_text or len(value) != count:
        raise _error(key, f"is {value!r:.60}, expected an array of {count} numbers")
    return value.to_numpy()


def _types(metadata: Mapping[str, object]) -> NDArray[np.generic]:
    """The type of each token; a file may leave them out, and then all are normal."""
    key = "tokenizer.ggml.token_type"
    count = len(_tokens(metadata))
    if key not in metadata:
        return np.ones(count, dtype=np.int32)
    return _numbers(metadata, key, count)


def _flag(metadata: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = metadata.get(f"tokenizer.ggml.{name}", default)
    if not isinstance(value, bool):
        raise _error(f"tokenizer.ggml.{name}", f"is {value!r:.60}, expected true or false")
    return value


def _token_id(
    metadata: Mapping[str, object], name: str, tokens: GgufArray, default: int | None = None
) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    value = metadata.get(key)
    if value is None:
        return default if default is not None and default < len(tokens) else None
    # Some writers state 2^32 - 1, or an id behind the vocabulary, where they mean "none".
    if type(value) is not int:
        raise _error(key, f"is {value!r:.60}, expected a token id")
    return value if 0 <= value < len(tokens) else None


def _endings(
    metadata: Mapping[str, object],
    tokens: GgufArray,
    types: NDArray[np.generic],
    default: int | None = None,
) -> tuple[int, ...]:
    stated = [
        _token_id(metadata, "eos", tokens, default),
        _token_id(metadata, "eot", tokens),
        _token_id(metadata, "eom", tokens),
    ]
    by_text = {
        str(tokens[index]): index
        for index in np.flatnonzero(types == CONTROL).tolist()
        if tokens[index] in ENDINGS
    }
    # Where a model has tokens to return and to call, its <|end|> only separates messages.
    if {"<|return|>", "<|call|>"} <= by_text.keys():
        by_text.pop("<|end|>", None)
    found = [index for index in stated if index is not None]
    return tuple(sorted({*found, *by_text.values()}))


def _vocabulary(tokens: GgufArray) -> dict[str, int]:
    texts = [str(text) for text in tokens.to_list()]
    # An empty text cannot be a token; some files pad with them, and such ids are never produced.
    vocabulary = {text or f"[EMPTY_{index}]": index for index, text in enumerate(texts)}
    if len(vocabulary) != len(texts):
        raise _error("tokenizer.ggml.tokens", "holds the same token twice")
    return vocabulary


def _pairs(merges: GgufArray, vocabulary: Mapping[str, int]) -> list[Merge]:
    """Each merge cut at its first space behind the first character, its parts and sum checked."""
    pairs: list[Merge] = []
    for index, text in enumerate(merges.to_list()):
        joined = str(text)
        cut = joined.find(" ", 1)
        left, right = joined[:cut], joined[cut + 1 :]
        if cut < 0 or left not in vocabulary or right not in vocabulary:
            raise _error("tokenizer.ggml.merges", f"has no two known tokens at {index}: {text!r}")
        if left + right not in vocabulary:
            raise _error("tokenizer.ggml.merges", f"makes an unknown token at {index}: {text!r}")
        pairs.append((left, right))
    return pairs


def _added(
    vocabulary: Mapping[str, int], types: NDArray[np.generic]
) -> list[tuple[int, str, bool]]:
    """The tokens that are found in a text as they stand: control, unknown and user-defined."""
    texts = list(vocabulary)
    found = np.flatnonzero(np.isin(types, (UNKNOWN, CONTROL, USER_DEFINED))).tolist()
    return [(index, texts[index], bool(types[index] != USER_DEFINED)) for index in found]


def _scored_pieces(
    vocabulary: Mapping[str, int], types: NDArray[np.generic], scores: NDArray[np.generic]
) -> dict[str, float]:
    """The pieces that merging can make: not the ones that only stand for themselves."""
    merged = ~np.isin(types, (UNKNOWN, CONTROL, BYTE))
    values = scores.tolist()
    return {text: values[index] for text, index in vocabulary.items() if merged[index]}
