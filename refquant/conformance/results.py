"""Results of cases and of a whole run, as data that is written to JSON and read back."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from refquant.conformance.whole_files import write_whole
from refquant.errors import FormatError

__all__ = [
    "BAD",
    "RESULTS",
    "CaseResult",
    "Difference",
    "Report",
    "Result",
    "clause_score",
    "read_report",
]

Result = Literal[
    "pass",
    "fail",
    "crash",
    "timeout",
    "protocol-error",
    "unsupported",
    "unsupported-but-declared",
    "xfail",
    "xpass",
    "waived",
    "flaky",
    "not-run",
]
RESULTS: Final[tuple[Result, ...]] = get_args(Result)
BAD: Final[frozenset[Result]] = frozenset(RESULTS) - {"pass", "unsupported", "xfail", "waived"}
"""Results with which a run does not pass."""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output that is not as expected, and the bytes about its first wrong element."""

    output: str
    note: str = ""
    different: int = 0
    first: tuple[int, ...] = ()
    found: str = ""
    expected: str = ""
    offset: int = 0
    found_bytes: str = ""
    expected_bytes: str = ""


class CaseResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one case."""

    id: str
    digest: str
    """The first 8 hexadecimal digits of the case's digest."""

    result: Result
    pack: str = ""
    op: str = ""
    level: str = "must"
    clauses: tuple[str, ...] = ()
    detail: str = ""
    differences: tuple[Difference, ...] = ()
    output: str = ""
    """The first 16 hexadecimal digits of the SHA-256 of all outputs, for the diagnosis."""

    microseconds: int = 0
    why: str = ""
    diagnosis: tuple[str, ...] = ()
    link: str = ""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run: whom, with what, every result, and at the end the counts, without which it is none."""

    schema: Literal["refquant.conformance-report/1"]
    suite: str
    suite_sha256: str
    engine: dict[str, Any]
    seed: int
    smoke: bool
    selected: bool
    """Whether only some of the cases were asked for."""

    results: tuple[CaseResult, ...]
    problems: tuple[str, ...]
    """Why the run is no evidence, whatever its results: counts, controls, waivers."""

    controls: dict[str, int]
    seconds: int
    starts: int
    counts: dict[str, int]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and the run can be believed."""
        return not self.problems and not any(one.result in BAD for one in self.results)

    def write(self, path: Path) -> None:
        """The report as JSON, each case on a line of its own."""
        whole = msgspec.to_builtins(self)
        lines = [json.dumps(one) for one in whole.pop("results")]
        counts = whole.pop("counts")
        head = json.dumps(whole)[:-1]
        body = ",\n  ".join(lines)
        text = f'{head}, "results": [\n  {body}\n], "counts": {json.dumps(counts)}}}\n'
        write_whole(path, text.encode())


def clause_score(results: Sequence[CaseResult]) -> tuple[int, int]:
    """How many clauses are met, and how many were asked: one is met if all cases for it pass."""
    met: dict[str, bool] = {}
    for one in results:
        if one.result not in ("unsupported", "not-run"):
            for clause in one.clauses:
                met[clause] = met.get(clause, True) and one.result == "pass"
    return sum(met.values()), len(met)


def counted(results: tuple[CaseResult, ...]) -> dict[str, int]:
    """How many cases came to each result, in the order of `RESULTS`."""
    counts: Mapping[str, int] = Counter(one.result for one in results)
    return {name: counts[name] for name in RESULTS if counts.get(name)}


def read_report(path: Path) -> Report:
    """A report that `write` wrote; FormatError where it is cut off or its counts do not agree."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise FormatError("E_REPORT", f"no report of a run: {error}", path=str(path)) from error
    if counted(report.results) != report.counts:
        raise FormatError("E_REPORT", "the counts are not those of the results", path=str(path))
    return report
