"""The header: what the tensors are called, their shapes, layouts and segments; model and texts.

```
{ "core": { "alias":     [{"name", "of"}]?                      tied weights, by name
            "arch":      {"family", "fields"}?
            "chat":      {"prompt", "start", "turns"}?
            "docs":      [{"media", "name", "seg": [int]}]      by name
            "schemes":   [description]                          by first use
            "shards":    [{"file_len", "name", "root"}]?        by first use
            "tensors":   [{"name", "planes": {plane: [int]}, "scheme": int, "shape": [int]}]
            "tokenizer": {"add_bos", "bos"?, "doc", "eos": [int], "kind"}? }
  "ext":  {name: {"critical": bool, "data": any, "follows"?: "tensors"}}?
  "info": {...} }
```

`core` is all that is needed for the right answer, so an unknown key in it is refused. `info` is
for people. An unknown entry of `ext` is refused if it says that it is critical.

Read in order, documents, then tensors, then planes by name, the references to segments are
1, 2, 3 ... and reach every segment; that one references excludes shared and forgotten segments.
With `shards` a reference is a pair, `[file, segment]`. The header of a shard has no more than
`{"core": {"role": "shard"}}` to say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from refquant.architectures import Architecture, FieldValue
from refquant.errors import FormatError, UnsupportedError
from refquant.formats.chat import ChatTurns
from refquant.formats.rq import schema
from refquant.formats.rq.chat_header import parse_chat
from refquant.formats.rq.header_tensors import parse_aliases, parse_layouts, parse_tensors
from refquant.formats.rq.limits import (
    MAX_DOCUMENT_BYTES,
    MAX_EOS,
    MAX_MEDIA_BYTES,
    MAX_SEGMENTS,
)
from refquant.formats.rq.preamble import FEATURE_OPERATORS, FEATURE_SHARDS
from refquant.formats.rq.records import DocumentRecord, TensorRecord, TokenizerRecord
from refquant.formats.rq.references import References
from refquant.formats.rq.segments import KIND_DOCUMENT, Segment
from refquant.formats.rq.shards import ShardRecord, parse_shards
from refquant.schemes.storage import AnyLayout, StoredLayout

__all__ = ["WRITER_KEYS", "Header", "parse_header"]

WRITER_KEYS: Final = frozenset({"compression", "labels"})
"""Keys of `info` that the writer derives from the rest of a plan."""

_TOP: Final = frozenset({"core", "info"})
_CORE: Final = frozenset({"docs", "schemes", "tensors"})
_CORE_OPTIONAL: Final = frozenset({"alias", "arch", "chat", "shards", "tokenizer"})
_EXTENSION_NAME: Final = re.compile(r"x-[a-z0-9]+\.[a-z0-9_.-]+")
_MEDIA: Final = re.compile(r"[!-~]+/[!-~]+(?:; ?[!-~]+)*")
_WORD: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header."""

    tensors: tuple[TensorRecord, ...]
    layouts: tuple[AnyLayout, ...]
    documents: tuple[DocumentRecord, ...]
    aliases: Mapping[str, str]
    architecture: Architecture | None
    tokenizer: TokenizerRecord | None
    info: Mapping[str, object] = field(repr=False)
    extensions: Mapping[str, object] = field(default_factory=dict, repr=False)
    shards: tuple[ShardRecord, ...] = ()
    is_shard: bool = False
    chat: ChatTurns | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """A display name for each layout, from `info`; nothing may be decided by it."""
        listed = self.info.get("labels")
        if not isinstance(listed, list) or len(listed) != len(self.layouts):
            return ("",) * len(self.layouts)
        return tuple(label if isinstance(label, str) else "" for label in listed)


def parse_header(
    document: object,
    segments: Sequence[Segment],
    *,
    features: int = 0,
    as_shard: bool | None = False,
) -> Header:
    """Stage S6: the header that RQ-MP1 data spell, checked against the segment table.

    `features` are those of the preamble's bits that the header must bear out: bit 1, which roots
    with shards and shards have, and bit 2 for operators. `as_shard` says what is expected, a shard
    or a model; None: whatever it is.
    """
    top = schema.entries(document, "$", _TOP, frozenset({"ext"}))
    info = schema.entries(top["info"], "$.info")
    extensions = _extensions(top["ext"]) if "ext" in top else {}
    core = schema.entries(top["core"], "$.core")
    is_shard = "role" in core
    if is_shard:
        _check_shard(core)
    else:
        schema.entries(core, "$.core", _CORE, _CORE_OPTIONAL)
    _check_bit("shards", has=is_shard or "shards" in core, bit=features & FEATURE_SHARDS)
    _check_role(is_shard=is_shard, as_shard=as_shard)
    if is_shard:
        _check_bit("operators", has=False, bit=features & FEATURE_OPERATORS)
        return Header((), (), (), {}, None, None, info, extensions, is_shard=True)
    return replace(_model(core, segments, features), info=info, extensions=extensions)


def _model(core: Mapping[str, object], segments: Sequence[Segment], features: int) -> Header:
    """What `core` says of a model, in the order in which its defects are to be found."""
    shards = parse_shards(core["shards"]) if "shards" in core else ()
    references = References(segments, len(shards))
    documents = _documents(core["docs"], references)
    layouts = parse_layouts(core["schemes"])
    has_operators = any(isinstance(layout, StoredLayout) for layout in layouts)
    _check_bit("operators", has=has_operators, bit=features & FEATURE_OPERATORS)
    tensors = parse_tensors(core["tensors"], layouts, references)
    references.finish()
    return Header(
        tensors=tensors,
        layouts=layouts,
        documents=documents,
        aliases=parse_aliases(core["alias"], tensors) if "alias" in core else {},
        architecture=_architecture(core["arch"]) if "arch" in core else None,
        tokenizer=_tokenizer(core["tokenizer"], documents) if "tokenizer" in core else None,
        info={},
        shards=shards,
        chat=parse_chat(core["chat"]) if "chat" in core else None,
    )


def _check_shard(core: dict[str, object]) -> None:
    found = schema.entries(core, "$.core", frozenset({"role"}), frozenset())
    if found["role"] != "shard":
        message = f"found {found['role']!r}, expected 'shard'"
        raise FormatError("E_SCHEMA_TYPE", message, where="$.core.role")


def _check_role(*, is_shard: bool, as_shard: bool | None) -> None:
    if is_shard and as_shard is False:
        raise UnsupportedError(
            "this is a shard, which holds planes and does not say whose; open the file that "
            "lists it",
            code="E_SHARD_ROLE",
        )
    if as_shard and not is_shard:
        raise FormatError("E_SHARD_ROLE", "listed as a shard, and is a model of its own")


def _check_bit(what: str, *, has: bool, bit: int) -> None:
    """Feature bits describe the file exactly."""
    if has != bool(bit):
        found = "has" if has else "has no"
        message = f"the bit for {what} is wrong: the header {found} {what}"
        raise FormatError("E_FEATURE", message, offset=12)


def _extensions(value: object) -> dict[str, object]:
    """The entries of `ext`, none of which this reader knows, and none of them critical."""
    extensions = schema.entries(value, "$.ext")
    if not extensions:
        raise FormatError("E_SCHEMA_EMPTY", "an empty map here must be left out", where="$.ext")
    for key, entry in extensions.items():
        where = f"$.ext.{key}"
        if not _EXTENSION_NAME.fullmatch(key):
            raise FormatError("E_NAME", "an extension is called x-vendor.thing", where=where)
        found = schema.entries(
            entry, where, frozenset({"critical", "data"}), frozenset({"follows"})
        )
        if "follows" in found and found["follows"] != "tensors":
            message = f"found {found['follows']!r}, expected 'tensors'"
            raise FormatError("E_SCHEMA_TYPE", message, where=f"{where}.follows")
        if schema.boolean(found["critical"], f"{where}.critical"):
            raise UnsupportedError(
                f"the file needs the extension {key!r}, which this reader lacks ({where})",
                code="E_EXT_CRITICAL",
            )
    return extensions


def _documents(value: object, references: References) -> tuple[DocumentRecord, ...]:
    documents: list[DocumentRecord] = []
    previous = ""
    for index, entry in enumerate(schema.items(value, "$.core.docs", MAX_SEGMENTS)):
        where = f"$.core.docs[{index}]"
        found = schema.entries(entry, where, frozenset({"media", "name", "seg"}), frozenset())
        name = schema.name(found["name"], f"{where}.name")
        schema.increasing(previous, name, f"{where}.name")
        media = schema.text(found["media"], f"{where}.media")
        if len(media) > MAX_MEDIA_BYTES or not _MEDIA.fullmatch(media):
            message = f"{media[:80]!r} is no media type"
            raise FormatError("E_NAME", message, where=f"{where}.media")
        pieces = references.take(found["seg"], KIND_DOCUMENT, f"{where}.seg")
        size = references.raw_bytes(pieces)
        if size > MAX_DOCUMENT_BYTES:
            message = f"a document of {size} bytes, at most {MAX_DOCUMENT_BYTES} may be"
            raise FormatError("E_LIMIT", message, where=where)
        if len(pieces.numbers) > 1:
            raise FormatError("E_CUT", "a document is at most one segment", where=f"{where}.seg")
        documents.append(DocumentRecord(name, media, pieces.numbers))
        previous = name
    return tuple(documents)


def _word(value: object, where: str) -> str:
    found = schema.text(value, where)
    if not _WORD.fullmatch(found):
        message = f"{found[:80]!r} does not match {_WORD.pattern}"
        raise FormatError("E_NAME", message, where=where)
    return found


def _architecture(value: object) -> Architecture:
    """Family and fields; the family's own page says which fields and values it takes (S7)."""
    found = schema.entries(value, "$.core.arch", frozenset({"family", "fields"}), frozenset())
    fields = schema.entries(found["fields"], "$.core.arch.fields")
    # The values are checked against the family by whoever runs the model: a reader that does
    # not know the family must still be able to show them.
    values = cast("dict[str, FieldValue]", fields)
    return Architecture(_word(found["family"], "$.core.arch.family"), values)


def _tokenizer(value: object, documents: Sequence[DocumentRecord]) -> TokenizerRecord:
    where = "$.core.tokenizer"
    required = frozenset({"add_bos", "doc", "eos", "kind"})
    found = schema.entries(value, where, required, frozenset({"bos"}))
    name = schema.text(found["doc"], f"{where}.doc")
    if all(name != document.name for document in documents):
        raise FormatError("E_REF", f"{name[:80]!r} is no document", where=f"{where}.doc")
    eos = schema.integers(found["eos"], f"{where}.eos", MAX_EOS)
    if any(b <= a for a, b in zip([-1, *eos], eos, strict=False)):
        message = f"{eos[:8]}: token ids are at least 0 and increase"
        raise FormatError("E_ORDER", message, where=f"{where}.eos")
    bos = schema.integer(found["bos"], f"{where}.bos") if "bos" in found else None
    if bos is not None and bos < 0:
        raise FormatError("E_SCHEMA_TYPE", f"token id {bos} is negative", where=f"{where}.bos")
    return TokenizerRecord(
        kind=_word(found["kind"], f"{where}.kind"),
        document=name,
        bos=bos,
        eos=tuple(eos),
        add_bos=schema.boolean(found["add_bos"], f"{where}.add_bos"),
    )
