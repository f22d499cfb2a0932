"""The table of comparisons as text, and what is missing in it by the ledger of evidence."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, groupby
from typing import Any

from conformance import evidence
from tools import oracles

__all__ = [
    "ENOUGH",
    "RECORD",
    "base_of",
    "claims",
    "current",
    "faults",
    "joined",
    "missing",
    "not_compared",
    "report",
    "row_of",
]

RECORD = evidence.FOLDER.parent / "comparisons.json"
ENOUGH = 1 << 22
"""Weights that an encoder is compared on."""
ANY_BYTES = 1 << 16
"""Weights that a decoder is compared on."""

Row = Mapping[str, Any]
FORM = "{:<22} {:<25} {:>6} {:>13} {:>9} {:>12} {:>9} {:>9}  {}"
_WHATS = ("encode", "decode")
_COUNTS = ("values", "different")
HEAD = (
    "scheme",
    "compared with",
    "points",
    "encoded",
    "different",
    "decoded",
    "different",
    "explained",
    "known differences",
)


@cache
def ledger() -> Mapping[str, evidence.Entry]:
    """All entries by scheme."""
    return {entry.scheme: entry for entry in chain.from_iterable(evidence.entries().values())}


def base_of(name: str) -> str:
    """The entry that a scheme's full name belongs to."""
    plain = name.partition(" ")[0]
    return plain if plain in ledger() else plain.partition("[")[0]


def same_package(left: str, right: str) -> bool:
    return left.replace("_", "-") == right.replace("_", "-")


def claims() -> Iterator[tuple[str, evidence.ThirdParty]]:
    """Every comparison that the ledger claims."""
    for scheme, entry in sorted(ledger().items()):
        for third in entry.third_party:
            yield scheme, third


def row_of(rows: Iterable[Row], scheme: str, third: evidence.ThirdParty) -> Row | None:
    """The row in which a claim was kept."""
    for row in rows:
        same = same_package(row["package"], third.package) and row["version"] == third.version
        if row["scheme"] == scheme and same:
            return row
    return None


def joined(rows: Iterable[Row]) -> list[Row]:
    """Rows of several files of tests added up, one for each scheme and package."""

    def key(row: Row) -> tuple[str, str, str]:
        return row["scheme"], row["package"], row["version"]

    found = []
    for _, group in groupby(sorted(rows, key=key), key=key):
        parts = list(group)
        row = {**parts[0], "names": sorted({name for part in parts for name in part["names"]})}
        for what in _WHATS:
            row[what] = {count: sum(p[what][count] for p in parts) for count in parts[0][what]}
        found.append(row)
    return found


def claim_of(row: Row) -> evidence.ThirdParty | None:
    """The claim that a row keeps."""
    entry = ledger().get(row["scheme"])
    for third in entry.third_party if entry else ():
        if row_of([row], row["scheme"], third):
            return third
    return None


def current(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of which the ledger still speaks, from tests that still exist."""
    top = evidence.FOLDER.parent.parent.parent
    return [dict(row) for row in rows if claim_of(row) and (top / row["test"]).exists()]


def missing(row: Row | None, third: evidence.ThirdParty) -> str:
    """What a claim lacks, or nothing."""
    if row is None:
        return "not compared"
    for what, claimed, least in (
        ("encode", third.encode, ENOUGH),
        ("decode", third.decode, ANY_BYTES),
    ):
        found = row[what]
        if claimed and found["values"] < least:
            return f"{what}: {found['values']:,} values, expected at least {least:,}"
        if found["different"]:
            return f"{what}: {found['different']:,} values differ without a stated reason"
        if found["explained"] and not third.known_differences:
            return f"{what}: {found['explained']:,} values differ, the ledger gives no reason"
    return ""


def why_missing(third: evidence.ThirdParty) -> str:
    """The reason why a package cannot be asked here; nothing where it can."""
    pin = f"{third.package}=={third.version}".replace("_", "-")
    homes = [
        name
        for name, oracle in oracles.ORACLES.items()
        if any(pin == _plain(requirement) for requirement in oracle.requirements)
    ]
    reasons = {name: _why_not(name) for name in homes}
    if not homes or not all(reasons.values()):
        return ""
    return "; ".join(f"environment {name}: {reason}" for name, reason in reasons.items())


@cache
def _why_not(name: str) -> str:
    return oracles.why_not(name)


def _plain(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{name.partition('[')[0]}=={version}".replace("_", "-")


def faults(rows: Iterable[Row]) -> list[str]:
    """Claims of the ledger that a run could have kept and did not, and rows without a claim."""
    found, rows = [], joined(rows)
    for scheme, third in claims():
        lacks = missing(row_of(rows, scheme, third), third)
        if lacks and not (lacks == "not compared" and why_missing(third)):
            found.append(f"  {scheme} with {third.package} {third.version}: {lacks}")
    return found + [
        f"  {row['scheme']}: {row['package']} {row['version']} is not in the ledger"
        for row in rows
        if claim_of(row) is None
    ]


def report(rows: Iterable[Row]) -> list[str]:
    """The table, and the sentences on known differences to which its numbers point."""
    rows = joined(rows)
    notes: dict[str, int] = {}
    lines = [FORM.format(*HEAD)]
    for row in rows:
        third = claim_of(row)
        known = third.known_differences if third else ()
        numbers = [str(notes.setdefault(text, len(notes) + 1)) for text in known]
        counts = [row[what][count] for what in ("encode", "decode") for count in _COUNTS]
        shown = [f"{count:,}" if count else "0" for count in counts]
        explained = row["encode"]["explained"] + row["decode"]["explained"]
        package = f"{row['package']} {row['version']}"
        parts = [row["scheme"], package, len(row["names"]), *shown, f"{explained:,}"]
        lines.append(FORM.format(*parts, " ".join(numbers)).rstrip())
    totals = [sum(row[what][count] for row in rows) for what in _WHATS for count in _COUNTS]
    lines.append(
        f"{len({row['scheme'] for row in rows})} schemes: {totals[0]:,} weights encoded, "
        f"{totals[1]:,} differ; {totals[2]:,} decoded, {totals[3]:,} differ"
    )
    if notes:
        lines += ["", "known differences:", *(f"  {n}. {text}" for text, n in notes.items())]
    return lines


def not_compared(rows: Iterable[Row]) -> list[str]:
    """What a run compared with nobody, with reasons: schemes, and packages that were not asked."""
    head = "not compared with anyone else's code:"
    left = [*not_asked(rows), *without_third_party()]
    return ["", head, *left] if left else []


def not_asked(rows: Iterable[Row]) -> list[str]:
    """Claims without a row, with the reason."""
    rows = list(rows)
    return [
        f"  {scheme}, {third.package} {third.version}: "
        f"{why_missing(third) or 'its tests were not part of this run'}"
        for scheme, third in claims()
        if row_of(rows, scheme, third) is None
    ]


def without_third_party() -> list[str]:
    """Schemes that the ledger compares with nobody, and why."""
    return [
        f"  {scheme}: {entry.no_third_party}"
        for scheme, entry in sorted(ledger().items())
        if not entry.third_party
    ]
