"""A `tokenizer.json` in GGUF's words: arrays of tokens, types, merges or scores, and special ids.

The reverse of `tokenizers_gguf.py`. GGUF names a way of cutting text into words instead of spelling
its expressions, and gives SentencePiece's pieces scores where `tokenizer.json` has merges; what the
names and the scores cannot say is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import TokenizerSpec
from refquant.formats.gguf_pairs import pair
from refquant.formats.strict_json import parse_object
from refquant.formats.tokenizers_json import SPACE_MARK, merges_from_scores
from refquant.formats.tokenizers_patterns import GPT2_WORDS, PRE_TOKENIZERS

__all__ = ["tokenizer_pairs"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
PREFIX: Final = "tokenizer.ggml"


def tokenizer_pairs(spec: TokenizerSpec, vocabulary: int) -> list[bytes]:
    """The pairs of a tokenizer whose model has so many tokens."""
    document = parse_object(spec.json, "tokenizer.json")
    writer = {
        "bpe-bytelevel-1": _byte_level,
        "bpe-sentencepiece-1": _sentencepiece,
        "wordpiece-1": _wordpiece,
    }.get(spec.kind)
    if writer is None:
        raise UnsupportedError(f"GGUF has no tokenizer of the kind {spec.kind}")
    return writer(document, spec, _Tokens(document, vocabulary))


class _Tokens:
    """Every id's text and type, from the vocabulary and the added tokens."""

    def __init__(self, document: Mapping[str, Any], size: int) -> None:
        self.ids: dict[str, int] = dict(document["model"]["vocab"])
        added = document.get("added_tokens") or []
        self.ids |= {one["content"]: one["id"] for one in added}
        if max(self.ids.values()) >= size:
            raise UnsupportedError(
                f"the tokenizer has the id {max(self.ids.values())}, the model only {size} tokens"
            )
        self.texts = [f"[PAD{index}]" for index in range(size)]
        self.types = np.full(size, UNUSED, np.int32)
        for text, index in self.ids.items():
            self.texts[index], self.types[index] = text, NORMAL
        for one in added:
            self.types[one["id"]] = CONTROL if one.get("special") else USER_DEFINED

    def pairs(self, model: str) -> list[bytes]:
        """The kind, texts and types."""
        return [
            pair(f"{PREFIX}.model", model),
            pair(f"{PREFIX}.tokens", self.texts),
            pair(f"{PREFIX}.token_type", self.types),
        ]


def _special(spec: TokenizerSpec) -> list[bytes]:
    ends = zip(("eos", "eot", "eom"), spec.eos, strict=False)
    named = [*(() if spec.bos is None else (("bos", spec.bos),)), *ends]
    found = [pair(f"{PREFIX}.{name}_token_id", index) for name, index in named]
    return [*found, pair(f"{PREFIX}.add_bos_token", spec.add_bos)]


def _byte_level(document: Mapping[str, Any], spec: TokenizerSpec, tokens: _Tokens) -> list[bytes]:
    if document.get("normalizer") is not None and _kinds(document["normalizer"]) != ["NFC"]:
        raise UnsupportedError("GGUF's byte-level tokenizers have no normalizer, and this one has")
    model = document["model"]
    merges = [" ".join(one) for one in _merges(model)]
    return [
        *tokens.pairs("gpt2"),
        pair(f"{PREFIX}.pre", _cutting(document.get("pre_tokenizer"), model)),
        pair(f"{PREFIX}.merges", merges),
        *_special(spec),
    ]


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Merges as pairs; older files write both parts in one text."""
    listed = model.get("merges") or []
    pairs = (one.split(" ", 1) if isinstance(one, str) else one for one in listed)
    return [(str(left), str(right)) for left, right in pairs]


def _parts(part: Any) -> list[Mapping[str, Any]]:
    """The members of a sequence, or the part alone."""
    if part is None:
        return []
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            return [inner for member in part[key] for inner in _parts(member)]
    return [part]


def _kinds(part: Any) -> list[str]:
    return [str(one.get("type")) for one in _parts(part)]


def _cutting(part: Any, model: Mapping[str, Any]) -> str:
    """GGUF's name for a way of cutting words."""
    patterns: list[str] = []
    for one in _parts(part):
        kind = one.get("type")
        if kind == "Split" and one.get("behavior") == "Isolated" and not one.get("invert"):
            patterns.append(str(one["pattern"].get("Regex")))
        elif kind == "Digits" and one.get("individual_digits"):
            patterns.append(r"\p{N}")
        elif kind == "ByteLevel" and not one.get("add_prefix_space"):
            patterns += [GPT2_WORDS] if one.get("use_regex", True) else []
        else:
            raise UnsupportedError(f"GGUF has no name for the pre-tokenizer part {kind}")
    ignores = bool(model.get("ignore_merges"))
    names = [name for name, one in PRE_TOKENIZERS.items() if one.patterns == tuple(patterns)]
    exact = [name for name in names if PRE_TOKENIZERS[name].ignore_merges == ignores]
    if not exact:
        raise UnsupportedError(f"GGUF has no name for cutting words by {patterns}")
    return "llama-bpe" if "llama-bpe" in exact else exact[0]


def _sentencepiece(
    document: Mapping[str, Any], spec: TokenizerSpec, tokens: _Tokens
) -> list[bytes]:
    model = document["model"]
    for byte in range(256):
        if (index := tokens.ids.get(f"<0x{byte:02X}>")) is not None:
            tokens.types[index] = BYTE
    unknown = tokens.ids.get(str(model.get("unk_token")))
    if unknown is not None:
        tokens.types[unknown] = UNKNOWN
    found = [
        *tokens.pairs("llama"),
        pair(f"{PREFIX}.scores", _scores(_merges(model), tokens)),
        pair(f"{PREFIX}.add_space_prefix", _puts_space(document)),
        *_special(spec),
    ]
    return found if unknown is None else [*found, pair(f"{PREFIX}.unknown_token_id", unknown)]


def _puts_space(document: Mapping[str, Any]) -> bool:
    """True if a text that begins without a space gets one."""
    for one in (*_parts(document.get("normalizer")), *_parts(document.get("pre_tokenizer"))):
        if one.get("type") == "Prepend":
            return True
        if one.get("type") == "Metaspace":
            old = "always" if one.get("add_prefix_space") else "never"
            return bool(one.get("prepend_scheme", old) != "never")
    return False


def _scores(merges: Sequence[tuple[str, str]], tokens: _Tokens) -> np.ndarray[Any, Any]:
    """A score for each piece: less the place of the first merge that makes it.

    Scores know no order among the ways to make one piece, and every way is open to them.
    """
    ranks: dict[str, int] = {}
    for left, right in merges:
        ranks.setdefault(left + right, len(ranks))
    scores = np.zeros(len(tokens.texts), np.float32)
    for text, rank in ranks.items():
        scores[tokens.ids[text]] = -float(rank + 1)
    merged = {
        text: float(scores[index])
        for text, index in tokens.ids.items()
        if tokens.types[index] in (NORMAL, USER_DEFINED, UNUSED)
    }
    if set(merges_from_scores(tokens.ids, merged)) != set(merges):
        raise UnsupportedError("the tokenizer's merges are not those that scores of pieces give")
    return scores


def _wordpiece(document: Mapping[str, Any], spec: TokenizerSpec, tokens: _Tokens) -> list[bytes]:
    model = document["model"]
    if model.get("continuing_subword_prefix") != "##":
        raise UnsupportedError("GGUF's WordPiece knows only pieces that go on with ##")
    unknown = tokens.ids[str(model["unk_token"])]
    ends = {"bos": spec.bos, "seperator": spec.eos[0] if spec.eos else None, "unknown": unknown}
    tokens.types[unknown] = CONTROL
    for index in np.flatnonzero(np.isin(tokens.types, (NORMAL, USER_DEFINED))).tolist():
        text = tokens.texts[index]
        tokens.texts[index] = text[2:] if text.startswith("##") else SPACE_MARK + text
    named = [(name, index) for name, index in ends.items() if index is not None]
    return [
        *tokens.pairs("bert"),
        *(pair(f"{PREFIX}.{name}_token_id", index) for name, index in named),
    ]
