"""What makes of results a report that can be believed: an order, controls, counts.

However an engine is reached, through a pipe or over HTTP, its report is made here.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from refquant.conformance.judge import corrupted
from refquant.conformance.packs import Case, Pack
from refquant.conformance.replies import Hello, Limits
from refquant.conformance.results import CaseResult, Report, counted
from refquant.conformance.rotated import rotated
from refquant.conformance.waivers import Waiver, apply

if TYPE_CHECKING:
    from refquant.conformance.selection import Selection

__all__ = ["Controls", "Options", "applies", "report_of", "shuffled"]

CONTROLS: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is done. `expected` is the number of cases that the suite promises."""

    suite: str = ""
    suite_sha256: str = ""
    expected: int = 0
    seed: int = 0
    smoke: bool = False
    selected: bool = False
    limits: Limits = field(default_factory=Limits)
    waivers: Sequence[Waiver] = ()
    root: Path = Path()
    tell: Callable[[CaseResult], None] = lambda _: None

    @classmethod
    def of(
        cls,
        found: "Selection",
        *,
        seed: int = 0,
        limits: Limits | None = None,
        waivers: Sequence[Waiver] = (),
    ) -> Self:
        """How the cases of a selection are run."""
        return cls(
            found.suite.suite,
            found.sha256,
            found.expected,
            seed,
            found.smoke,
            found.partial,
            limits or Limits(),
            waivers,
            found.root,
        )


def shuffled(cases: Sequence[tuple[Pack, Case]], seed: int) -> list[tuple[Pack, Case]]:
    """An order that depends on ids and seed alone, so that leaving cases out changes no other."""
    return sorted(cases, key=lambda pc: hashlib.sha256(f"{seed}/{pc[1].id}".encode()).digest())


def applies(hello: Hello, case: Case) -> bool:
    """Whether an engine said that it can do what a case asks, in the way and size it is asked."""
    held = (*case.inputs, *case.outputs)
    if 0 < hello.max_bytes < max((one.nbytes for one in held), default=0):
        return False
    able = all(map(hello.has, case.features))
    return able and all(hello.behaviours.get(key) == one for key, one in case.when.items())


class Controls:
    """Cases that passed, asked once more: with a corrupt expectation, and with their rows rotated.

    The first kind has to fail, or the runner judges wrongly. The second has to pass, or the engine
    does not compute what it answers. A control that gets no answer says nothing, and another takes
    its place.
    """

    def __init__(self, passed: Sequence[tuple[Pack, Case]] = (), seed: int = 0) -> None:
        again = shuffled(passed, seed + 1)
        self._corrupt = (one for pc in again if (one := corrupted(*pc)) is not None)
        others = (one for pc in again if (one := rotated(*pc)) is not None)
        self._rotated = islice(others, CONTROLS)
        self._rotating = False
        self._asked = 0
        self.counts = {"caught": 0, "missed": 0}
        self.unlike: list[str] = []
        """The cases that passed as the suite has them and fail with their rows rotated."""

    def next(self) -> tuple[Pack, Case] | None:
        """A case to ask; None where enough were judged, or none is left."""
        if not self._rotating:
            enough = sum(self.counts.values()) == CONTROLS or self._asked == 2 * CONTROLS
            wrong = None if enough else next(self._corrupt, None)
            if wrong is not None:
                self._asked += 1
                return wrong
            self._rotating = True
        return next(self._rotated, None)

    def count(self, result: CaseResult) -> None:
        """Take in what became of the last one."""
        if self._rotating:
            if result.result == "fail":
                self.unlike.append(result.id)
        elif result.result in ("pass", "fail"):
            self.counts["missed" if result.result == "pass" else "caught"] += 1


def report_of(
    options: Options,
    engine: tuple[Hello, str],
    results: Sequence[CaseResult],
    controls: Controls,
    *,
    seconds: int,
    starts: int,
    changed: Sequence[str] = (),
) -> Report:
    """The report of an engine, given by its introduction and the option that names it.

    `changed` are files of the suite that are no longer what they were before the run.
    """
    judged, problems = apply(options.waivers, results, dt.datetime.now(tz=dt.UTC).date())
    problems += _why_no_evidence(judged, options.expected, controls)
    problems += [f"{path} was changed during the run" for path in changed[:1]]
    return Report(
        "refquant.conformance-report/1",
        options.suite,
        options.suite_sha256,
        _introduced(*engine),
        options.seed,
        options.smoke,
        options.selected,
        tuple(judged),
        tuple(problems),
        dict(controls.counts),
        seconds,
        starts,
        counted(tuple(judged)),
    )


def _why_no_evidence(results: Sequence[CaseResult], expected: int, controls: Controls) -> list[str]:
    """Why a run says nothing, whatever its results: cases that were not met, controls that were."""
    problems = []
    if len(results) != expected:
        problems.append(f"{len(results)} cases, and the suite has {expected}")
    if missed := controls.counts["missed"]:
        problems.append(f"{missed} corrupt controls were judged right")
    if controls.unlike:
        named = " and ".join(controls.unlike[:2])
        problems.append(f"it passes {named}, and fails with the rows in another order")
    if not any(one.result not in ("unsupported", "waived", "not-run") for one in results):
        problems.append("not one case was run: the engine's features match none")
    if any(one.result == "pass" for one in results) and not any(controls.counts.values()):
        problems.append("no control could be run")
    return problems


def _introduced(hello: Hello, option: str) -> dict[str, Any]:
    return {
        "name": hello.name,
        "version": hello.version,
        "language": hello.language,
        "features": list(hello.features),
        "behaviours": dict(hello.behaviours),
        "limits": {"max_bytes": hello.max_bytes},
        "option": option,
    }
