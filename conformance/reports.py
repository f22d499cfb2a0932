"""Public reports of mistakes that the suite knows: `registry/reports.toml`, read and checked.

python -m conformance.reports        print the table; status 1 where it does not hold
"""

import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

__all__ = ["Report", "links", "read", "wrong"]

FOLDER = Path(__file__).resolve().parent


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One report: what was shipped, and which known mistakes that is."""

    link: Annotated[str, msgspec.Meta(pattern="^https://[^ ]+$")]
    what: str
    mutants: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    report: tuple[Report, ...]


def read() -> tuple[Report, ...]:
    """All reports."""
    text = (FOLDER / "registry" / "reports.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _File).report


def links() -> dict[str, str]:
    """By a mutant's name, where its mistake was reported."""
    return {name: one.link for one in read() for name in one.mutants}


def wrong(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What does not hold, given the kill matrix: unknown mutants, and what stands here twice."""
    reports = read()
    names = Counter(name for one in reports for name in one.mutants)
    addresses = Counter(one.link for one in reports)
    twice = [key for counts in (names, addresses) for key, count in counts.items() if count > 1]
    return [
        *(f"no mutant is called {name}" for name in names if name not in known),
        *(f"{key} stands there twice" for key in twice),
    ]


def main() -> int:
    """The command."""
    raw = (FOLDER / "generated" / "kill_matrix.json").read_bytes()
    problems = wrong(json.loads(raw)["mutants"])
    for one in read():
        print(f"{one.link}\n    {one.what}\n    {', '.join(one.mutants)}")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
