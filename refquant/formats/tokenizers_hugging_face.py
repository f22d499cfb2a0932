"""A Hugging Face directory's tokenizer: `tokenizer.json` as it is, ids from the files beside it.

`tokenizer.json` travels untouched. Which ids begin and end a text stands in other files, and the
newest of them wins where they add up: every id that any of them calls an end is an end.
"""

from collections.abc import Mapping
from typing import Final

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.checkpoint import TokenizerSpec
from refquant.formats.strict_json import parse_object

__all__ = ["ids_by_text", "tokenizer_from_hugging_face"]

Json = Mapping[str, object]


def tokenizer_from_hugging_face(
    data: bytes, config: Json, tokenizer_config: Json, generation_config: Json
) -> TokenizerSpec:
    """The tokenizer whose `tokenizer.json` is `data`.

    FormatError E_JSON* or E_HF_TOKENIZER for damage; UnsupportedError for a model that is neither
    byte-pair encoding nor WordPiece.
    """
    document = parse_object(data, "tokenizer.json")
    ids = ids_by_text(document)
    begins = [generation_config.get("bos_token_id"), config.get("bos_token_id")]
    ends = [generation_config.get("eos_token_id"), config.get("eos_token_id")]
    bos = [*_ids(begins), *_named(tokenizer_config.get("bos_token"), ids)]
    eos = [*_ids(ends), *_named(tokenizer_config.get("eos_token"), ids)]
    return TokenizerSpec(
        kind=_kind(document),
        json=data,
        bos=bos[0] if bos else None,
        eos=tuple(sorted(set(eos))),
        add_bos=_adds_bos(document, tokenizer_config, bos[0] if bos else None),
    )


def ids_by_text(document: Json) -> dict[str, int]:
    """The ids of a `tokenizer.json`: of its vocabulary, then of the added tokens.

    FormatError E_HF_TOKENIZER for added tokens that are no list of objects; a text or an id of
    another type is left out.
    """
    added = document.get("added_tokens") or []
    model = document.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise FormatError(
            "E_HF_TOKENIZER", "added_tokens must be a list of objects", where="tokenizer.json"
        )
    texts = vocabulary if isinstance(vocabulary, dict) else {}
    pairs = [*texts.items(), *((token.get("content"), token.get("id")) for token in added)]
    return {text: token for text, token in pairs if isinstance(text, str) and type(token) is int}


def _kind(document: Json) -> str:
    """Which of our kinds this is, from the parts that make the difference."""
    model = document.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind == "WordPiece":
        return "wordpiece-1"
    if kind != "BPE":
        raise UnsupportedError(
            f"the tokenizer model is {kind!r}, only BPE and WordPiece are read here"
        )
    parts = [*_parts(document.get("pre_tokenizer")), *_parts(document.get("decoder"))]
    kinds = {str(part.get("type")) for part in parts}
    if "ByteLevel" in kinds:
        return "bpe-bytelevel-1"
    if kinds & {"ByteFallback", "Metaspace"}:
        return "bpe-sentencepiece-1"
    raise UnsupportedError(
        "the tokenizer is neither byte-level nor SentencePiece byte-pair encoding "
        f"(it has {', '.join(sorted(kinds)) or 'no decoder'})"
    )


MEMBERS: Final = ("pretokenizers", "decoders", "processors")


def _parts(part: object) -> list[dict[str, object]]:
    """The members of a Sequence, or the part alone; sequences do not nest in practice."""
    if not isinstance(part, dict):
        return []
    for key in MEMBERS:
        members = part.get(key)
        if isinstance(members, list):
            return [member for member in members if isinstance(member, dict)]
    return [part]


def _ids(values: list[object]) -> list[int]:
    """Ids that stand alone or in lists; JSON's null and -1 mean none."""
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one for one in flat if type(one) is int and one >= 0]


def _named(token: object, ids: Mapping[str, int]) -> list[int]:
    """The id of a token given by its text, or by an object that holds its text."""
    text = token.get("content") if isinstance(token, dict) else token
    return [ids[text]] if isinstance(text, str) and text in ids else []


def _adds_bos(document: Json, tokenizer_config: Json, bos: int | None) -> bool:
    """What the configuration says, or else whether the post-processor's template starts with it."""
    if bos is None:
        return False
    stated = tokenizer_config.get("add_bos_token")
    if isinstance(stated, bool):
        return stated
    return any(_template_start(part) == bos for part in _parts(document.get("post_processor")))


def _template_start(part: Json) -> object:
    """The id of the special token that a TemplateProcessing puts first, or None."""
    single, tokens = part.get("single"), part.get("special_tokens")
    if not isinstance(single, list) or not single or not isinstance(tokens, dict):
        return None
    first = single[0].get("SpecialToken") if isinstance(single[0], dict) else None
    name = first.get("id") if isinstance(first, dict) else None
    entry = tokens.get(name) if isinstance(name, str) else None
    ids = entry.get("ids") if isinstance(entry, dict) else None
    return ids[0] if isinstance(ids, list) and ids else None
