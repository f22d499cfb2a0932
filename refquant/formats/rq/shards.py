"""Shards: the other files that a sharded model's planes are in, named and pinned by its root file.

A root lists for each shard a plain file name, its length and its root digest. The name is looked
for beside the root and nowhere else, and no byte of a shard is used before its length and its
digest are those of the list: so a swapped, stale or foreign file is refused, whatever it is called.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from refquant.errors import FormatError
from refquant.formats.rq import schema
from refquant.formats.rq.limits import MAX_SHARD_NAME_BYTES, MAX_SHARDS
from refquant.formats.rq.preamble import ENTRY_BYTES, PREAMBLE_BYTES
from refquant.formats.rq.references import check_cut, check_kind, may_cut
from refquant.formats.rq.segments import KIND_PLANE, Segment
from refquant.formats.rq.source import Source

__all__ = [
    "PlaneUse",
    "ShardRecord",
    "check_uses",
    "find_shard",
    "is_shard_name",
    "parse_shards",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.rq")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)
"""Names that Windows gives to devices, whatever ending follows."""

_ROOT_BYTES: Final = 32
_SHORTEST: Final = PREAMBLE_BYTES + ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A shard as the root lists it."""

    name: str
    file_length: int
    root: bytes


class PlaneUse(NamedTuple):
    """What a root expects of a shard: the segments of one plane, and their decoded bytes."""

    where: str
    numbers: tuple[int, ...]
    expected: int


def is_shard_name(name: str) -> bool:
    """Whether a name is a plain file's on every system, and can lead to no other folder."""
    return (
        len(name) <= MAX_SHARD_NAME_BYTES
        and _NAME.fullmatch(name) is not None
        and ".." not in name
        and name.partition(".")[0].lower() not in _DEVICES
    )


def parse_shards(value: object) -> tuple[ShardRecord, ...]:
    """The list of shards in a root's header."""
    shards: list[ShardRecord] = []
    known: set[str] = set()
    where = "$.core.shards"
    for index, entry in enumerate(schema.present(schema.items(value, where, MAX_SHARDS), where)):
        shard = _parse_shard(entry, f"{where}[{index}]")
        if shard.name.lower() in known:
            message = f"{shard.name!r} is listed before, perhaps in other letters"
            raise FormatError("E_DUP", message, where=f"{where}[{index}].name")
        known.add(shard.name.lower())
        shards.append(shard)
    return tuple(shards)


def _parse_shard(entry: object, where: str) -> ShardRecord:
    found = schema.entries(entry, where, frozenset({"file_len", "name", "root"}), frozenset())
    name = schema.text(found["name"], f"{where}.name")
    if not is_shard_name(name):
        message = f"{name[:80]!r} is no plain file name ending in .rq"
        raise FormatError("E_SHARD_NAME", message, where=f"{where}.name")
    length = schema.integer(found["file_len"], f"{where}.file_len")
    if length < _SHORTEST:
        message = f"{length} bytes, a file has at least {_SHORTEST}"
        raise FormatError("E_SHARD_LENGTH", message, where=f"{where}.file_len")
    root = found["root"]
    if not isinstance(root, bytes) or len(root) != _ROOT_BYTES:
        message = f"expected {_ROOT_BYTES} bytes"
        raise FormatError("E_SCHEMA_TYPE", message, where=f"{where}.root")
    return ShardRecord(name, length, root)


def find_shard(source: Source, shard: ShardRecord) -> Source:
    """The file of a shard beside its root, once length and digest are known to be right."""
    found = source.sibling(shard.name)
    if found is None:
        raise FormatError(
            "E_SHARD_MISSING",
            f"the shard {shard.name} is not beside it, or is no regular file; "
            f"its {shard.file_length} bytes belong in the same folder",
            path=source.name,
        )
    if found.size != shard.file_length:
        message = f"{found.size} bytes, the root file says {shard.file_length}"
        raise FormatError("E_SHARD_LENGTH", message, path=found.name)
    if bytes(found.read_at(PREAMBLE_BYTES - _ROOT_BYTES, _ROOT_BYTES)) != shard.root:
        raise FormatError(
            "E_SHARD_ROOT",
            "this is not the shard that the root file pins: its digest is another",
            path=found.name,
            offset=PREAMBLE_BYTES - _ROOT_BYTES,
        )
    return found


def check_uses(segments: Sequence[Segment], uses: Sequence[PlaneUse]) -> None:
    """Hold a shard's segments against what the root expects of them."""
    cuttable = may_cut(segments)
    for use in uses:
        for number in use.numbers:
            check_kind(segments, number, KIND_PLANE, use.where)
        size = sum(segments[number].raw_length for number in use.numbers)
        if size != use.expected:
            message = f"{size} bytes, but its shape takes {use.expected}"
            raise FormatError("E_PLANE_SIZE", message, where=use.where)
        check_cut([segments[n].raw_length for n in use.numbers], use.where, cuttable=cuttable)
    used = 1 + sum(len(use.numbers) for use in uses)
    if used != len(segments):
        message = f"segment {used} belongs to no tensor of the root file"
        raise FormatError("E_UNREF", message)
