"""Packs in the making: cases with their arrays, digests filled in; `bins.py` writes the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from refquant.conformance.counted import Lane
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.packs import ALIGNMENT, Array, Case, Comparison, Pack, case_digest
from refquant.errors import ConformanceError

__all__ = ["NAN_FREE", "PackWriter", "Values"]

NAN_FREE = Comparison("bits", nan="any")
"""Bits where a number is expected, any NaN where a NaN is."""

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
        counted: Mapping[str, tuple[Lane, ...]] | None = None,
        **others: Any,
    ) -> None:
        """Add a case; `others` are further fields of `Case`: flags, clauses, outcome, code.

        Inputs in `counted` are stored as the rule that counts them out. What is compared by a
        `digest` is not stored.
        """
        rules = cmp or {}
        case = Case(
            name,
            "",
            op,
            dict(params),
            features=tuple(features),
            inputs=tuple(self._input(*item, counted or {}) for item in inputs.items()),
            outputs=tuple(self._array(*item, rules.get(item[0])) for item in outputs.items()),
            aside=tuple(self._array(*item) for item in (aside or {}).items()),
            why=why,
            **others,
        )
        digest = case_digest(self.made(), case)
        self.cases.append(msgspec.structs.replace(case, digest=digest))

    def again(self, pack: Pack, case: Case) -> None:
        """Add a copy of another pack's case, of the same id and digest."""

        def moved(array: Array) -> Array:
            if array.counted or (array.cmp and array.cmp.name == "digest"):
                return array
            copy = self._array(array.name, pack.array(array), array.cmp)
            return msgspec.structs.replace(copy, dtype=array.dtype)

        kinds = {
            kind: tuple(map(moved, getattr(case, kind))) for kind in ("inputs", "outputs", "aside")
        }
        self.cases.append(msgspec.structs.replace(case, **kinds))

    def made(self) -> Pack:
        """The pack with the cases that were added."""
        return Pack(self.pack, 1, self.title, tuple(self.cases), self.scheme, bytes(self.binary))

    def _input(self, name: str, values: Values, counted: Mapping[str, tuple[Lane, ...]]) -> Array:
        if name not in counted:
            return self._array(name, values)
        array = Array(name, NAMES[values.dtype], values.shape, counted=counted[name])
        if self.made().raw(array) != values.tobytes():
            raise ConformanceError(f"{self.pack}: the lanes of {name} do not give its numbers")
        return array

    def _array(self, name: str, values: Values, rule: Comparison | None = None) -> Array:
        found = np.ascontiguousarray(values)
        array = Array(name, NAMES[found.dtype], tuple(np.shape(values)), cmp=rule)
        raw = found.tobytes()
        if rule is not None and rule.name == "digest":
            return array
        if raw not in self.places:
            self.binary += bytes(-len(self.binary) % ALIGNMENT)
            self.places[raw] = len(self.binary)
            self.binary += raw
        return msgspec.structs.replace(array, off=self.places[raw])
