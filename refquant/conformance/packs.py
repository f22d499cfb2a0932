"""Packs: the cases of the suite with their arrays, read strictly and checked against their digests.

`conformance/SPEC.md` defines the two files of a pack. Everything is checked on reading, because a
suite that is read wrongly passes wrong engines.
"""

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from refquant.conformance.dtypes import DTYPES
from refquant.errors import FormatError

__all__ = [
    "Array",
    "Case",
    "Comparison",
    "Pack",
    "PackRow",
    "Suite",
    "case_digest",
    "read_pack",
    "read_smoke",
    "read_suite",
]

ALIGNMENT: Final = 64

Scalar = str | int | bool
Document = TypeVar("Document")
Outcome = Literal["ok", "rejected"]


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an output is judged; arrays that a class needs stand beside the output in the case."""

    name: str = msgspec.field(name="class", default="bits")
    nan: Literal["payload", "any"] = "payload"
    n: int = 0
    low: str = ""
    high: str = ""
    exact: str = ""
    bound: str = ""
    margin: str = ""
    alternatives: dict[str, str] = {}
    """For `either`: a behaviour's value to the name of the array it gives."""


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One array of a case: its place in the pack's `.bin`, or its bytes in hexadecimal."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    off: int = -1
    len: int = 0
    hex: str = ""
    cmp: Comparison | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to compute, and what must come out."""

    id: str
    digest: str
    op: str
    params: dict[str, Scalar | list[int] | dict[str, str]]
    level: Literal["must", "should", "may"] = "must"
    clauses: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    when: dict[str, str] = {}
    """Behaviours under which the case applies."""

    inputs: tuple[Array, ...] = msgspec.field(name="in", default=())
    outputs: tuple[Array, ...] = msgspec.field(name="out", default=())
    aside: tuple[Array, ...] = ()
    """Arrays that comparisons need and engines never see: bounds, alternatives."""

    outcome: Outcome = "ok"
    code: str = ""
    """For `rejected`: the error's code."""

    kills: tuple[str, ...] = ()
    why: str = ""


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The cases of one group."""

    pack: str
    suite: Literal[1]
    title: str
    cases: tuple[Case, ...]
    scheme: str = ""
    binary: bytes = b""
    """The content of the `.bin` file; not part of the JSON."""

    def array(self, array: Array) -> NDArray[Any]:
        """The elements of an array, read-only."""
        return np.frombuffer(self.raw(array), DTYPES[array.dtype]).reshape(array.shape)

    def raw(self, array: Array) -> bytes:
        """The bytes of an array."""
        if array.off < 0:
            return bytes.fromhex(array.hex)
        return self.binary[array.off : array.off + array.len]


class PackRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the suite says of a pack: its digests and how many cases a run must have met."""

    pack: str
    cases: int
    json_sha256: str
    bin_sha256: str


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`suite.json`: the version and every pack.

    `smoke_pack` holds copies of the fewest cases that together tell every known mistake.
    """

    suite: str
    protocol: Literal[1]
    packs: tuple[PackRow, ...]
    smoke_pack: PackRow | None = None


def read_suite(folder: Path) -> tuple[Suite, tuple[Pack, ...]]:
    """The suite in a folder, with all of its packs; FormatError where a digest or count differs."""
    suite = _read_index(folder)
    return suite, tuple(_read_listed(folder, row) for row in suite.packs)


def read_smoke(folder: Path) -> tuple[Suite, tuple[Pack, ...]]:
    """The suite in a folder with its smoke pack alone, which is read in milliseconds."""
    suite = _read_index(folder)
    if suite.smoke_pack is None:
        raise FormatError("E_SUITE", "this suite has no smoke pack", path=str(folder))
    return suite, (_read_listed(folder, suite.smoke_pack),)


def _read_index(folder: Path) -> Suite:
    path = folder / "suite.json"
    return _convert(path.read_bytes(), Suite, str(path))


def _read_listed(folder: Path, row: PackRow) -> Pack:
    """A pack by its digests in `suite.json`, which stand for the digests of its cases too."""
    path = folder / "packs" / f"{row.pack}.json"
    content, binary = _files(path)
    pack = _pack_of(content, binary, str(path))
    found = (pack.pack, len(pack.cases), _sha256(content), _sha256(binary))
    if found != (row.pack, row.cases, row.json_sha256, row.bin_sha256):
        message = "the pack is not the one that suite.json lists: digest or count differs"
        raise FormatError("E_SUITE", message, path=row.pack)
    return pack


def read_pack(path: Path) -> Pack:
    """One pack, every array within its file and every digest right."""
    pack = _pack_of(*_files(path), str(path))
    for case in pack.cases:
        if case_digest(pack, case) != case.digest:
            message = f"{case.id} is not what its digest says"
            raise FormatError("E_SUITE", message, path=str(path))
    return pack


def _files(path: Path) -> tuple[bytes, bytes]:
    try:
        binary = path.with_suffix(".bin")
        return path.read_bytes(), binary.read_bytes() if binary.exists() else b""
    except OSError as error:
        raise FormatError("E_SUITE", f"the pack cannot be read: {error}", path=str(path)) from error


def _pack_of(content: bytes, binary: bytes, path: str) -> Pack:
    pack = msgspec.structs.replace(_convert(content, Pack, path), binary=binary)
    seen: set[str] = set()
    for case in pack.cases:
        for array in (*case.inputs, *case.outputs, *case.aside):
            _check_array(array, len(binary), f"{path}: {case.id}")
        if case.id in seen:
            raise FormatError("E_SUITE", f"two cases are called {case.id}", path=path)
        seen.add(case.id)
    return pack


def case_digest(pack: Pack, case: Case) -> str:
    """SHA-256 over what a case asks and what must come out, whatever its words and offsets."""
    parts = [case.op, _canonical(case.params), _canonical(case.when), case.outcome, case.code]
    digest = hashlib.sha256("\n".join(parts).encode())
    for kind in (case.inputs, case.outputs, case.aside):
        for array in kind:
            rule = _canonical(msgspec.to_builtins(array.cmp))
            digest.update(f"\n{array.name} {array.dtype} {list(array.shape)} {rule}\n".encode())
            digest.update(pack.array(array).tobytes())
        digest.update(b"\n--")
    return digest.hexdigest()


def _check_array(array: Array, available: int, where: str) -> None:
    if array.dtype not in DTYPES or any(size < 0 for size in array.shape):
        raise FormatError("E_SUITE", f"array {array.name}: unknown type or shape", where=where)
    needed = prod(array.shape) * int(DTYPES[array.dtype][-1])
    if array.off < 0:
        fits = len(array.hex) == 2 * needed <= 2 * ALIGNMENT
    else:
        fits = array.len == needed and array.off % ALIGNMENT == 0
        fits = fits and array.off + needed <= available and not array.hex
    if not fits:
        message = f"array {array.name}: its place does not hold {needed} bytes"
        raise FormatError("E_SUITE", message, where=where)


def _convert(content: bytes, kind: type[Document], path: str) -> Document:
    """A document of a type, from JSON without floats and without a key twice (S-1)."""
    try:
        data = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
        return msgspec.convert(data, kind)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError("E_SUITE", str(error), path=path) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object of the JSON")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"a float stands in the JSON: {text}")


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
