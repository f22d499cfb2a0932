"""Packs as bytes: cases with their arrays, equal arrays stored once, digests filled in.

Nothing else writes packs. The same cases give the same bytes on every machine: no clock, no order
of a dictionary or a file system enters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from refquant.conformance.dtypes import DTYPES
from refquant.conformance.packs import Array, Case, Comparison, Pack, case_digest

__all__ = ["BITS", "NAN_FREE", "PackWriter", "Values"]

BITS = Comparison()
NAN_FREE = Comparison("bits", nan="any")
"""Bits where a number is expected, any NaN where a NaN is."""

INLINE = 64
ALIGNMENT = 64
NAMES = {np.dtype(spelled): name for name, spelled in DTYPES.items() if name != "bf16"}
Values = NDArray[Any]


@dataclass
class PackWriter:
    """One pack in the making."""

    pack: str
    title: str
    scheme: str = ""
    cases: list[Case] = field(default_factory=list)
    binary: bytearray = field(default_factory=bytearray)
    places: dict[bytes, int] = field(default_factory=dict)
    kills: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By a case's id, the known mistakes that it tells, as the kill matrix has them."""

    def add(  # noqa: PLR0913 - a case has that many parts
        self,
        name: str,
        op: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, Values],
        outputs: Mapping[str, Values],
        *,
        features: Sequence[str],
        why: str,
        cmp: Mapping[str, Comparison] | None = None,
        aside: Mapping[str, Values] | None = None,
        **others: Any,
    ) -> None:
        """Add a case; `others` are further fields of `Case`: flags, clauses, outcome, code."""
        rules = cmp or {}
        case = Case(
            name,
            "",
            op,
            dict(params),
            features=tuple(features),
            inputs=tuple(self._array(*item) for item in inputs.items()),
            outputs=tuple(self._array(*item, rules.get(item[0], BITS)) for item in outputs.items()),
            aside=tuple(self._array(*item) for item in (aside or {}).items()),
            why=why,
            kills=tuple(self.kills.get(name, ())),
            **others,
        )
        digest = case_digest(self._pack(), case)
        self.cases.append(msgspec.structs.replace(case, digest=digest))

    def again(self, pack: Pack, case: Case) -> None:
        """Add a copy of another pack's case, of the same id and digest, without what it kills."""

        def moved(array: Array) -> Array:
            copy = self._array(array.name, pack.array(array), array.cmp)
            return msgspec.structs.replace(copy, dtype=array.dtype)

        kinds = {
            kind: tuple(map(moved, getattr(case, kind))) for kind in ("inputs", "outputs", "aside")
        }
        self.cases.append(msgspec.structs.replace(case, kills=(), **kinds))

    def contents(self) -> tuple[bytes, bytes]:
        """The two files: JSON with a case a line, and the arrays."""
        whole = msgspec.to_builtins(self._pack())
        cases = whole.pop("cases")
        whole.pop("binary", None)
        head = json.dumps(whole, separators=(",", ":"))[:-1]
        lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases)
        return f'{head},"cases":[\n{lines}\n]}}\n'.encode(), bytes(self.binary)

    def _pack(self) -> Pack:
        return Pack(self.pack, 1, self.title, tuple(self.cases), self.scheme, bytes(self.binary))

    def _array(self, name: str, values: Values, rule: Comparison | None = None) -> Array:
        found = np.ascontiguousarray(values)
        shape, raw = tuple(np.shape(values)), found.tobytes()
        dtype = NAMES[found.dtype]
        if len(raw) <= INLINE:
            return Array(name, dtype, shape, hex=raw.hex(), cmp=rule)
        if raw not in self.places:
            self.binary += bytes(-len(self.binary) % ALIGNMENT)
            self.places[raw] = len(self.binary)
            self.binary += raw
        return Array(name, dtype, shape, self.places[raw], len(raw), cmp=rule)
