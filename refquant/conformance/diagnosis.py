"""Naming mistakes: a wrong output is compared with what every known wrong variant puts out.

`generated/kill_matrix.json` holds, for every mutant and every case that tells it from the right
thing, a digest of its output. An engine whose outputs have the same digests makes the same mistake.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from refquant.conformance.results import CaseResult, Report
from refquant.errors import FormatError

__all__ = ["KillMatrix", "KnownMutant", "diagnosed", "likely", "read_matrix"]

NAMED = 3


class KnownMutant(msgspec.Struct, frozen=True, omit_defaults=True):
    """A known mistake: what is wrong, who shipped it, and its output digest in each case."""

    change: str
    kills: dict[str, str]
    of: str = ""
    link: str = ""
    equivalent: str = ""
    """Why no output can differ, for a change that is none."""


class KillMatrix(msgspec.Struct, frozen=True):
    """Every known mistake by its name."""

    mutants: dict[str, KnownMutant]


@cache
def read_matrix(folder: Path) -> KillMatrix:
    """The kill matrix of a suite; an empty one where the suite has none."""
    path = folder / "generated" / "kill_matrix.json"
    if not path.is_file():
        return KillMatrix({})
    try:
        return msgspec.json.decode(path.read_bytes(), type=KillMatrix)
    except msgspec.MsgspecError as error:
        message = f"no list of known mistakes: {error}"
        raise FormatError("E_SUITE", message, path=str(path)) from error


def likely(matrix: KillMatrix, results: Sequence[CaseResult]) -> Mapping[str, tuple[str, ...]]:
    """For each failed case the mistakes with this very output, likeliest first.

    Of several with the same output that one comes first whose outputs agree in most of the failed
    cases, and among those the one that would have failed in the fewest that passed.
    """
    failed = {one.id: one.output for one in results if one.result == "fail" and one.output}
    passed = {one.id for one in results if one.result == "pass"}
    agreeing: Counter[str] = Counter()
    for name, mutant in matrix.mutants.items():
        agreeing[name] = sum(mutant.kills.get(key) == output for key, output in failed.items())

    def order(name: str) -> tuple[int, int, str]:
        kills = matrix.mutants[name].kills
        return -agreeing[name], sum(key in passed for key in kills), name

    ranked = sorted((name for name, count in agreeing.items() if count), key=order)
    return {
        key: tuple(n for n in ranked if matrix.mutants[n].kills.get(key) == output)[:NAMED]
        for key, output in failed.items()
    }


def diagnosed(report: Report, folder: Path) -> Report:
    """The report with the likeliest mistakes beside every failure."""
    if all(one.result != "fail" for one in report.results):
        return report
    matrix = read_matrix(folder)
    found = likely(matrix, report.results)

    def named(one: CaseResult) -> CaseResult:
        names = found.get(one.id, ())
        words = tuple(_in_words(name, matrix.mutants[name]) for name in names)
        return msgspec.structs.replace(one, diagnosis=words) if words else one

    return msgspec.structs.replace(report, results=tuple(map(named, report.results)))


def _in_words(name: str, mutant: KnownMutant) -> str:
    link = f", {mutant.link}" if mutant.link else ""
    return f"{name}: {mutant.change}{link}"
