"""Packs: the cases of the suite with their arrays, read strictly and checked against their digests.

`conformance/SPEC.md` defines the two files of a pack. Everything is checked on reading, because a
suite that is read wrongly passes wrong engines.
"""

import hashlib
import json
import re
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from refquant.conformance.counted import Lane, counted_bytes, record_bytes
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.plain_json import converted
from refquant.errors import FormatError

__all__ = [
    "ALIGNMENT",
    "SHARED",
    "Array",
    "Case",
    "Comparison",
    "Pack",
    "PackRow",
    "Suite",
    "case_digest",
    "coded_feature",
    "read_pack",
    "read_smoke",
    "read_suite",
]

ALIGNMENT: Final = 64
SHARED: Final = "shared.bin"

Scalar = str | int | bool
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
    sha256: str = ""
    """For `digest`: of all bytes of the output, NaN made alike where `nan` is `any`."""

    alternatives: dict[str, str] = {}
    """For `either`: a behaviour's value to the name of the array it gives."""


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One array of a case: its place in a `.bin`, its bytes in hexadecimal, or how it is counted.

    One with none of these is of zeros; so is what is expected where the comparison is a `digest`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    off: int = -1
    shared: bool = False
    """Whether its place is in the `.bin` of arrays that several packs hold."""

    hex: str = ""
    counted: tuple[Lane, ...] = ()
    cmp: Comparison | None = None

    @property
    def nbytes(self) -> int:
        """How long it is in bytes."""
        return prod(self.shape) * int(DTYPES[self.dtype][-1])


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

    shared: bytes = b""
    """The content of `shared.bin`, likewise."""

    def array(self, array: Array) -> NDArray[Any]:
        """The elements of an array, read-only."""
        return np.frombuffer(self.raw(array), DTYPES[array.dtype]).reshape(array.shape)

    def raw(self, array: Array) -> bytes:
        """The bytes of an array."""
        if array.counted:
            return counted_bytes(array.counted, array.nbytes)
        if array.off < 0:
            return bytes.fromhex(array.hex) or bytes(array.nbytes)
        place = slice(array.off, array.off + array.nbytes)
        return self.shared[place] if array.shared else self.binary[place]


class PackRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the suite says of a pack: its digests and how many cases a run must have met."""

    pack: str
    cases: int
    json_sha256: str
    bin_sha256: str


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`suite.json`: the version and every pack.

    `smoke_pack` holds copies of the fewest cases that together tell every known mistake;
    `shared_sha256` is of the file with the arrays that several packs hold.
    """

    suite: str
    protocol: Literal[1]
    packs: tuple[PackRow, ...]
    smoke_pack: PackRow | None = None
    shared_sha256: str = ""


def read_suite(folder: Path) -> tuple[Suite, tuple[Pack, ...]]:
    """The suite in a folder, with all of its packs; FormatError where a digest or count differs."""
    suite = _read_index(folder)
    shared = _read_shared(folder, suite)
    return suite, tuple(_read_listed(folder, row, shared) for row in suite.packs)


def read_smoke(folder: Path) -> tuple[Suite, tuple[Pack, ...]]:
    """The suite in a folder with its smoke pack alone, which is read in milliseconds."""
    suite = _read_index(folder)
    if suite.smoke_pack is None:
        raise FormatError("E_SUITE", "this suite has no smoke pack", path=str(folder))
    return suite, (_read_listed(folder, suite.smoke_pack, _read_shared(folder, suite)),)


def _read_index(folder: Path) -> Suite:
    path = folder / "suite.json"
    return converted(path.read_bytes(), Suite, str(path))


def _read_shared(folder: Path, suite: Suite) -> bytes:
    """The arrays that several packs hold."""
    shared = _binary(folder / "packs" / SHARED)
    if suite.shared_sha256 and _sha256(shared) != suite.shared_sha256:
        raise FormatError("E_SUITE", "it is not the file that suite.json lists", path=SHARED)
    return shared


def _read_listed(folder: Path, row: PackRow, shared: bytes) -> Pack:
    """A pack by its digests in `suite.json`, which stand for the digests of its cases too."""
    path = folder / "packs" / f"{row.pack}.json"
    content, binary = _files(path)
    pack = _pack_of(content, binary, shared, str(path))
    found = (pack.pack, len(pack.cases), _sha256(content), _sha256(binary))
    if found != (row.pack, row.cases, row.json_sha256, row.bin_sha256):
        message = "the pack is not the one that suite.json lists: digest or count differs"
        raise FormatError("E_SUITE", message, path=row.pack)
    return pack


def read_pack(path: Path) -> Pack:
    """One pack, every array within its file and every digest right."""
    content, binary = _files(path)
    name = json.loads(content)["pack"]
    shared = _binary(path.parents[name.count("/")] / SHARED)
    pack = _pack_of(content, binary, shared, str(path))
    for case in pack.cases:
        if case_digest(pack, case) != case.digest:
            message = f"{case.id} is not what its digest says"
            raise FormatError("E_SUITE", message, path=str(path))
    return pack


def _files(path: Path) -> tuple[bytes, bytes]:
    try:
        return path.read_bytes(), _binary(path.with_suffix(".bin"))
    except OSError as error:
        raise FormatError("E_SUITE", f"the pack cannot be read: {error}", path=str(path)) from error


def _binary(path: Path) -> bytes:
    """The content of a file of arrays; nothing where all of them stand elsewhere."""
    return path.read_bytes() if path.exists() else b""


def _pack_of(content: bytes, binary: bytes, shared: bytes, path: str) -> Pack:
    pack = converted(content, Pack, path)
    seen: set[str] = set()
    for case in pack.cases:
        for array in (*case.inputs, *case.outputs, *case.aside):
            room = len(shared if array.shared else binary)
            _check_array(array, room, f"{path}: {case.id}")
        if case.id in seen:
            raise FormatError("E_SUITE", f"two cases are called {case.id}", path=path)
        seen.add(case.id)
    cases = tuple(map(_with_features, pack.cases))
    return msgspec.structs.replace(pack, cases=cases, binary=binary, shared=shared)


def _with_features(case: Case) -> Case:
    if case.features or "scheme" not in case.params:
        return case
    usual = coded_feature(case.op, str(case.params["scheme"]))
    return msgspec.structs.replace(case, features=(usual,))


@cache
def coded_feature(op: str, scheme: str) -> str:
    """The feature of an operation on a scheme (S-10); a case that needs no other leaves it out."""
    slug = re.sub(r"[^a-z0-9_.]+", "-", scheme.lower()).strip("-")
    return f"{op}.{slug}"


def case_digest(pack: Pack, case: Case) -> str:
    """SHA-256 over what a case asks and what must come out, whatever its words and offsets."""
    parts = [case.op, _canonical(case.params), _canonical(case.when), case.outcome, case.code]
    digest = hashlib.sha256("\n".join(parts).encode())
    for kind in (case.inputs, case.outputs, case.aside):
        for array in kind:
            compared = array.cmp or (Comparison() if kind is case.outputs else None)
            rule = _canonical(msgspec.to_builtins(compared))
            digest.update(f"\n{array.name} {array.dtype} {list(array.shape)} {rule}\n".encode())
            digest.update(pack.array(array).tobytes())
        digest.update(b"\n--")
    return digest.hexdigest()


def _check_array(array: Array, available: int, where: str) -> None:
    if array.dtype not in DTYPES or any(size < 0 for size in array.shape):
        raise FormatError("E_SUITE", f"array {array.name}: unknown type or shape", where=where)
    needed = array.nbytes
    if array.counted:
        record = record_bytes(array.counted)
        fits = record > 0 and needed % record == 0 and array.off < 0 and not array.hex
    elif array.off < 0:
        fits = not array.hex or len(array.hex) == 2 * needed <= 2 * ALIGNMENT
    else:
        fits = array.off % ALIGNMENT == 0 and array.off + needed <= available and not array.hex
    if not fits:
        message = f"array {array.name}: its place does not hold {needed} bytes"
        raise FormatError("E_SUITE", message, where=where)


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
