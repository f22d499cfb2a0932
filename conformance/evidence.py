"""The ledger of evidence: what speaks for each scheme besides its own code.

One JSON file a namespace under registry/evidence/, an array of entries. This module is the shape
of an entry; registry/evidence.schema.json is made from it (`python -m conformance.evidence`).
Tests walk the ledger, and the pages of the specification print it.
"""

import json
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

__all__ = ["Clause", "Entry", "MutantRow", "Source", "ThirdParty", "entries", "entry_of", "schema"]

FOLDER = Path(__file__).resolve().parent / "registry" / "evidence"
SCHEMA = FOLDER.parent / "evidence.schema.json"

Text = Annotated[str, Meta(min_length=1)]


class Source(Struct, forbid_unknown_fields=True, frozen=True):
    """Where the contract comes from."""

    project: Annotated[str, Meta(min_length=1, description="Whose contract it is")]
    version: Annotated[str, Meta(description="Release or commit that was read")] = ""
    file: Annotated[str, Meta(description="File and function in that project")] = ""


class ThirdParty(Struct, forbid_unknown_fields=True, frozen=True):
    """An implementation by others that a test compares with, at a pinned version."""

    package: Text
    version: Text
    decode: bool
    encode: bool
    known_differences: Annotated[
        tuple[str, ...], Meta(description="What differs, and why we do not follow")
    ] = ()


class MutantRow(Struct, forbid_unknown_fields=True, frozen=True):
    """A wrong variant that the tests kill; `id` is one of `mutants/schemes/<namespace>.py`."""

    id: Text
    change: Text
    shipped_bug: Annotated[str, Meta(description="A public report of this mistake, if any")] = ""


class Clause(Struct, forbid_unknown_fields=True, frozen=True):
    """One normative sentence."""

    id: Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9_.-]*-C[1-9][0-9]*$")]
    text: Annotated[str, Meta(min_length=10, pattern=r"\.$")]


class Entry(Struct, forbid_unknown_fields=True, frozen=True):
    """The evidence for one scheme, or for one family of schemes with knobs."""

    scheme: Annotated[str, Meta(description="A registered scheme, or a family without brackets")]
    source: Source
    oracle: Annotated[
        str,
        Meta(
            pattern=r"^conformance\.oracle\.[a-z0-9_]+(:[a-z0-9_]+)?$",
            description="Scalar oracle in plain Python: module, or module:function",
        ),
    ]
    adversarial: Annotated[tuple[str, ...], Meta(min_length=1)]
    mutants: Annotated[tuple[MutantRow, ...], Meta(min_length=3)]
    clauses: Annotated[tuple[Clause, ...], Meta(min_length=1)]
    third_party: tuple[ThirdParty, ...] = ()
    no_third_party: Annotated[
        str, Meta(description="Why nobody else's code is compared with, where none is")
    ] = ""
    exhaustive: Annotated[
        str, Meta(description="What is tried in full, where the space allows")
    ] = ""
    numerics: Annotated[
        dict[str, str],
        Meta(description="The numerics ledger: quotient, scale used, rounding, ties, zeros, NaN"),
    ] = {}


def entries(folder: Path = FOLDER) -> dict[str, tuple[Entry, ...]]:
    """All entries by namespace; `msgspec.ValidationError` names the file that breaks the shape."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=tuple[Entry, ...])
        except msgspec.MsgspecError as error:
            raise msgspec.ValidationError(f"{path.name}: {error}") from error
    return found


def entry_of(scheme: str) -> Entry | None:
    """The entry of a scheme: by its full name, else by the name before the brackets."""
    every = {entry.scheme: entry for group in entries().values() for entry in group}
    return every.get(scheme) or every.get(scheme.partition("[")[0])


def schema() -> str:
    """The JSON Schema of a file of the ledger."""
    shape = msgspec.json.schema(tuple[Entry, ...])
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "refquant evidence ledger, one file a namespace",
    }
    return json.dumps(head | shape, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), "utf-8")
