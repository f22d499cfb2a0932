"""The table at the end of `make test-all`: who was compared with whom, and how many bits differ.

A test notes what it compared through the fixture `compared`; notes travel with its report, so they
arrive from other processes too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from conformance import evidence

__all__ = ["PROPERTY", "Comparison", "table"]

PROPERTY = "compared"


@dataclass(frozen=True, order=True)
class Comparison:
    """How many values of a scheme were compared with a package, and how many had other bits."""

    scheme: str
    package: str
    what: str
    values: int
    different: int


def table(notes: Iterable[Comparison]) -> list[str]:
    """One line for each scheme, package and direction, with the number of known differences."""
    lines = []
    for (scheme, package, what), group in groupby(
        sorted(notes), key=lambda note: (note.scheme, note.package, note.what)
    ):
        parts = list(group)
        values = sum(part.values for part in parts)
        different = sum(part.different for part in parts)
        lines.append(
            f"{scheme:<36} {package:<26} {what:<7} {values:>14,} {different:>10,}  "
            f"{known_differences(scheme, package)}"
        )
    head = (
        f"{'scheme':<36} {'compared with':<26} {'what':<7} {'values':>14} {'different':>10}  known"
    )
    return [head, *lines] if lines else []


def known_differences(scheme: str, package: str) -> str:
    """What the ledger says of a package: the number of known differences, or nothing."""
    entry = evidence.entry_of(scheme)
    name = package.partition(" ")[0].replace("_", "-")
    for third in entry.third_party if entry else ():
        if third.package.replace("_", "-") == name and third.known_differences:
            return str(len(third.known_differences))
    return ""
