"""Packs as files: every array stored once, in the pack's `.bin` or in the one that packs share.

Nothing else writes packs. The same cases give the same bytes on every machine: no clock, no order
of a dictionary or a file system enters.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import msgspec

from refquant.conformance.packs import ALIGNMENT, SHARED, Array, Case, Pack, coded_feature

__all__ = ["files_of"]

INLINE = 64
KINDS = ("inputs", "outputs", "aside")


@dataclass
class Bin:
    """A file of arrays in the making."""

    binary: bytearray = field(default_factory=bytearray)
    places: dict[bytes, int] = field(default_factory=dict)

    def place(self, raw: bytes) -> int:
        """Where these bytes stand; they are added where they do not yet."""
        if raw not in self.places:
            self.binary += bytes(-len(self.binary) % ALIGNMENT)
            self.places[raw] = len(self.binary)
            self.binary += raw
        return self.places[raw]


def files_of(packs: Sequence[Pack]) -> Mapping[PurePosixPath, bytes]:
    """The files of all packs, which have to be together: what two of them hold is stored once."""
    holders = Counter(raw for pack in packs for raw in set(_stored(pack)))
    twice = {raw for raw, count in holders.items() if count > 1}
    shared, files = Bin(), {}
    for pack in packs:
        own = Bin()
        cases = [_placed(pack, case, own, shared, twice) for case in pack.cases]
        path = PurePosixPath(pack.pack)
        files[path.with_name(path.name + ".json")] = _text(pack, cases)
        files[path.with_name(path.name + ".bin")] = bytes(own.binary)
    return {**files, PurePosixPath(SHARED): bytes(shared.binary)}


def _stored(pack: Pack) -> Iterable[bytes]:
    for case in pack.cases:
        for kind in KINDS:
            for array in getattr(case, kind):
                if _needs_a_place(array, raw := pack.raw(array)):
                    yield raw


def _needs_a_place(array: Array, raw: bytes) -> bool:
    """Whether an array is none that its JSON can say: short ones, zeros, and what a rule counts."""
    return not array.counted and len(raw) > INLINE and any(raw)


def _placed(pack: Pack, case: Case, own: Bin, shared: Bin, twice: set[bytes]) -> Case:
    def placed(array: Array) -> Array:
        raw = pack.raw(array)
        bare = msgspec.structs.replace(array, off=-1, shared=False, hex="")
        if array.counted or not any(raw):
            return bare
        if not _needs_a_place(array, raw):
            return msgspec.structs.replace(bare, hex=raw.hex())
        common = raw in twice
        off = (shared if common else own).place(raw)
        return msgspec.structs.replace(bare, off=off, shared=common)

    kinds = {kind: tuple(map(placed, getattr(case, kind))) for kind in KINDS}
    usual = (coded_feature(case.op, str(case.params.get("scheme", ""))),)
    features = () if case.features == usual else case.features
    return msgspec.structs.replace(case, features=features, **kinds)


def _text(pack: Pack, cases: Sequence[Case]) -> bytes:
    """JSON with a case a line."""
    whole = msgspec.to_builtins(msgspec.structs.replace(pack, cases=(), binary=b"", shared=b""))
    del whole["cases"]
    lines = ",\n".join(_compact(msgspec.to_builtins(case)) for case in cases)
    return f'{_compact(whole)[:-1]},"cases":[\n{lines}\n]}}\n'.encode()


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))
