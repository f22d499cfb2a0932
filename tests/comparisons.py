"""Who was compared with whom: the table at the end of `make test-all`, and its record.

A test notes what it compared through the fixture `compared`; notes travel with its report, so they
arrive from other processes too. `python -m tests.comparisons FILE` prints the table of a run, says
what was not compared and why, and fails where something could have been and was not;
`--record` enters the run into conformance/registry/comparisons.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import comparison_table

__all__ = ["PROPERTY", "Compared", "Comparison", "merged", "read", "rows_of", "unlike", "write"]

PROPERTY = "compared"


@dataclass(frozen=True, order=True)
class Comparison:
    """How many values of a scheme were compared with a package, and how many had other bits.

    `explained` counts those that differ for a reason that the ledger states.
    """

    scheme: str
    package: str
    what: str
    values: int
    different: int
    explained: int
    test: str = ""


def unlike(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_]:  # [n], [n] -> bool[n]
    """Where bits differ; a NaN is like any NaN, whose sign and payload IEEE 754 leaves open."""
    ours, theirs = np.ascontiguousarray(ours).reshape(-1), np.ascontiguousarray(theirs).reshape(-1)
    assert ours.shape == theirs.shape, f"{ours.size} values, expected {theirs.size}"
    kinds = {ours.dtype.kind, theirs.dtype.kind}
    if "f" not in kinds:
        return ours != theirs
    assert ours.dtype == theirs.dtype, f"{ours.dtype} values, expected {theirs.dtype}"
    word = f"u{ours.dtype.itemsize}"
    return (ours.view(word) != theirs.view(word)) & ~(np.isnan(ours) & np.isnan(theirs))


@dataclass(frozen=True)
class Compared:
    """The fixture: counts, notes and asserts. `package` is a name and a version, as in the ledger.

    `what` is "decode" or "encode"; values are weights, whatever else is compared beside them.
    """

    record: Callable[[str, object], None]

    def __call__(self, scheme, package, what, values, different, explained=0):
        """Only note: the test itself asserts that nothing differs without a reason."""
        assert what in ("decode", "encode"), what
        found = [scheme, package, what, int(values), int(different), int(explained)]
        self.record(PROPERTY, found)

    def encoded(self, scheme, package, weights, parts, *, title=""):
        """So many weights became the same codes, bytes and parameters.

        `parts` are pairs of ours and theirs by name, and perhaps a third array that is true where
        the two may differ for a reason that the ledger states.
        """
        different = explained = 0
        message = ""
        for part, (ours, theirs, *known) in parts.items():
            wrong = unlike(ours, theirs)
            excused = wrong & np.reshape(known[0], -1) if known else np.zeros_like(wrong)
            different += (wrong & ~excused).sum()
            explained += excused.sum()
            if (wrong & ~excused).any():
                message += f"\n{title} {part}: " + first_of(wrong & ~excused, ours, theirs)
        self(scheme, package, "encode", weights, different, explained)
        assert not different, f"{scheme} and {package}:{message}"

    def decoded(self, scheme, package, ours, theirs, *, known=None, title=""):
        """Every value has the same bits, but where `known` is true (the ledger has the reason)."""
        wrong = unlike(ours, theirs)
        excused = wrong & np.reshape(known, -1) if known is not None else np.zeros_like(wrong)
        wrong &= ~excused
        self(scheme, package, "decode", wrong.size, wrong.sum(), excused.sum())
        assert not wrong.any(), f"{scheme} and {package} {title}: {first_of(wrong, ours, theirs)}"


def first_of(wrong: NDArray[np.bool_], ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    """How many differ, and the first of them."""
    at = int(np.flatnonzero(wrong)[0])
    left, right = np.reshape(ours, -1)[at], np.reshape(theirs, -1)[at]
    return f"{wrong.sum()} of {wrong.size} differ, the first at {at}: {left!r}, theirs {right!r}"


def rows_of(notes: Iterable[Comparison]) -> list[dict[str, Any]]:
    """One row for each scheme of the ledger, each package and each file of tests, sorted."""

    def key(note: Comparison) -> tuple[str, str, str]:
        return comparison_table.base_of(note.scheme), note.package, note.test

    rows = []
    for (scheme, package, test), group in groupby(sorted(notes, key=key), key=key):
        parts = list(group)
        name, _, version = package.rpartition(" ")
        row: dict[str, Any] = {"scheme": scheme, "package": name, "version": version, "test": test}
        row["names"] = sorted({part.scheme for part in parts})
        for what in ("encode", "decode"):
            counted = [part for part in parts if part.what == what]
            row[what] = {
                count: sum(asdict(part)[count] for part in counted)
                for count in ("values", "different", "explained")
            }
        rows.append(row)
    return rows


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a run in the place of older ones of the same schemes, packages and tests."""
    keys = ("scheme", "package", "version", "test")
    found = {tuple(row[key] for key in keys): row for row in [*old, *new]}
    return [found[key] for key in sorted(found)]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no file."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", "utf-8")


def main() -> None:
    """Print, check and record a run."""
    parser = argparse.ArgumentParser(description="who was compared with whom in a run")
    parser.add_argument("file", type=Path, help="what the run wrote, REFQUANT_COMPARISONS")
    parser.add_argument("--record", action="store_true", help="enter it into the registry")
    arguments = parser.parse_args()
    rows = read(arguments.file)
    print("\n".join([*comparison_table.report(rows), *comparison_table.not_compared(rows)]))
    faults = comparison_table.faults(rows)
    if arguments.record:
        current = comparison_table.current(read(comparison_table.RECORD))
        write(comparison_table.RECORD, merged(current, rows))
        print(f"recorded {len(rows)} rows in {comparison_table.RECORD.name}")
    elif faults:
        sys.exit("\n".join(["", "not compared as the ledger claims:", *faults]))


if __name__ == "__main__":
    main()
