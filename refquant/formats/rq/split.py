"""Which tensor goes into which shard, and what the shards are called."""

import re
from pathlib import Path
from typing import Final

from refquant.errors import UsageError
from refquant.formats.rq.limits import MAX_SHARDS, align
from refquant.formats.rq.plan import SHARD_HEADER, Plan, PlannedTensor, outline
from refquant.formats.rq.preamble import ENTRY_BYTES, PREAMBLE_BYTES
from refquant.formats.rq.shards import is_shard_name

__all__ = ["check_stem", "groups_of", "is_shard_of", "shard_name", "shard_number"]

_DIGEST_DIGITS: Final = 16

_TAIL: Final = re.compile(r"-([0-9]{5})-of-[0-9]{5}-[0-9a-f]{16}\.rq")


def shard_name(path: Path, number: int, count: int, root: bytes) -> str:
    """`model-00001-of-00003-0123456789abcdef.rq`: its place in the set, and its content."""
    return f"{_stem(path)}-{number:05}-of-{count:05}-{root.hex()[:_DIGEST_DIGITS]}.rq"


def is_shard_of(path: Path, name: str) -> bool:
    """Whether this writer could have given that name to a shard of `path`."""
    stem = _stem(path)
    return name.startswith(stem) and _TAIL.fullmatch(name[len(stem) :]) is not None


def shard_number(path: Path, name: str) -> int:
    """The place in the set that the name of a shard of `path` says; 0 if it is no such name."""
    stem = _stem(path)
    found = _TAIL.fullmatch(name[len(stem) :]) if name.startswith(stem) else None
    return 0 if found is None else int(found.group(1))


def check_stem(path: Path) -> None:
    """Refuse a root whose name makes no names of shards that every system can bear."""
    if not is_shard_name(shard_name(path, 1, 1, bytes(32))):
        raise UsageError(
            f"cannot split {path}: its shards would be called {shard_name(path, 1, 1, bytes(32))}; "
            "choose a name of at most 80 letters, digits, points, hyphens and underscores"
        )


def _stem(path: Path) -> str:
    return path.name.removesuffix(".rq")


def groups_of(plan: Plan, most: int) -> list[tuple[PlannedTensor, ...]] | None:
    """The tensors of each shard, so that no raw shard of several is longer than `most` bytes.

    None if a raw file of that length holds everything. Tensors are taken by name, so that the
    same plan is always split alike.
    """
    if most < 1:
        raise UsageError(f"shards of {most} bytes: expected 1 or more")
    content = outline(plan, None)
    texts = sum(_room(len(document.data)) for document in content.documents if document.data)
    planes = sum(_tensor_room(tensor) for tensor in content.tensors)
    if PREAMBLE_BYTES + _room(len(content.header)) + texts + planes <= most or not planes:
        return None
    front = PREAMBLE_BYTES + _room(len(SHARD_HEADER))
    groups: list[list[PlannedTensor]] = []
    length = most
    for tensor in content.tensors:
        if length + _tensor_room(tensor) > most:
            groups.append([])
            length = front
        groups[-1].append(tensor)
        length += _tensor_room(tensor)
    if len(groups) > MAX_SHARDS:
        raise UsageError(f"{len(groups)} shards, at most {MAX_SHARDS} may be; make them larger")
    return [tuple(group) for group in groups]


def _tensor_room(tensor: PlannedTensor) -> int:
    layout, shape = tensor.layout, tensor.shape
    return sum(_room(layout.plane_nbytes(plane, shape)) for plane in layout.planes)


def _room(size: int) -> int:
    """What a raw segment of that size adds to a file, its entry and padding included."""
    return ENTRY_BYTES + align(size)
