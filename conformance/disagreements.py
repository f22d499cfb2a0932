"""Where implementations disagree: the table `registry/disagreements.toml`, read and checked.

    python -m conformance.disagreements        print the table; status 1 where it does not hold

A line has mutants, each of them told by the suite's cases, or a reason why there are none.
"""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

__all__ = ["Disagreement", "read", "wrong"]

FOLDER = Path(__file__).resolve().parent


class Disagreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One point on which implementations differ."""

    number: int
    about: str
    mutants: tuple[str, ...] = ()
    reason: str = ""
    link: Annotated[str, msgspec.Meta(pattern="^(https://[^ ]+)?$")] = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    disagreement: tuple[Disagreement, ...]


def read() -> tuple[Disagreement, ...]:
    """All lines in order of their numbers."""
    text = (FOLDER / "registry" / "disagreements.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _File).disagreement


def wrong(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What does not hold, given the kill matrix: numbers, unknown mutants, lines with nothing."""
    lines = read()
    found = []
    if [one.number for one in lines] != list(range(1, len(lines) + 1)):
        found.append("the numbers are not 1, 2, 3 and so on")
    for one in lines:
        found += [
            f"{one.number}: no mutant {name} is told by any case"
            for name in one.mutants
            if not known.get(name, {}).get("kills")
        ]
        if not one.mutants and not one.reason:
            found.append(f"{one.number}: neither a mutant nor a reason")
    return found


def main() -> int:
    """The command."""
    raw = (FOLDER / "generated" / "kill_matrix.json").read_bytes()
    problems = wrong(json.loads(raw)["mutants"])
    for one in read():
        print(f"{one.number:2}  {one.about}")
        print(f"    {', '.join(one.mutants) or one.reason}{'  ' + one.link if one.link else ''}")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
