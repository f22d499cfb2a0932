"""A run: the cases an engine says it can do, in a seeded order, with controls among them."""

import datetime as dt
import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from refquant.conformance.exchange import Exchange, Request, folder_in_memory
from refquant.conformance.judge import corrupted, judge, result_of
from refquant.conformance.packs import Case, Pack
from refquant.conformance.replies import Hello, Limits, Reply
from refquant.conformance.results import CaseResult, Report, counted
from refquant.conformance.waivers import Waiver, apply, skipped
from refquant.errors import ConformanceError

__all__ = ["CONTROLS", "Engine", "Options", "applies", "run", "shuffled", "why_no_evidence"]

CONTROLS: Final = 5
PATIENCE: Final = 10
"""Cases in a row without an answer after which the rest is not run."""

HOSTILE: Final = "container"


class Engine(Protocol):
    """What the runner asks of an engine, however it is reached."""

    starts: int
    option: str
    """The option of the command line that names it again, for `replay`."""

    def begin(self) -> None:
        """Start without waiting, so that there is less to wait for later."""

    def start(self) -> Hello:
        """Start, or start again, and be introduced."""

    def run(self, request: Request) -> Reply:
        """One case."""

    def close(self) -> None:
        """The end."""


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


@dataclass(slots=True)
class _Run:
    engine: Engine
    hello: Hello
    exchange: Exchange
    options: Options
    silent: int = 0
    earlier: dict[str, str] = field(default_factory=dict)
    controls: dict[str, int] = field(default_factory=lambda: {"caught": 0, "missed": 0})


def run(engine: Engine, packs: Sequence[Pack], options: Options) -> Report:
    """Every case of `packs` put to an engine. Raises ConformanceError if it cannot be started."""
    began = time.monotonic()
    cases = [(pack, case) for pack in packs for case in pack.cases]
    place = folder_in_memory()
    with tempfile.TemporaryDirectory(prefix="refquant-conformance-", dir=place) as folder:
        exchange = Exchange(Path(folder), options.root, options.seed)
        state = _Run(engine, engine.start(), exchange, options)
        found = {}
        try:
            for pack, case in shuffled(cases, options.seed):
                found[case.id] = _case(state, pack, case)
                options.tell(found[case.id])
            _run_controls(state, [pc for pc in cases if found[pc[1].id].result == "pass"])
        finally:
            engine.close()
    return _report(state, cases, found, int(time.monotonic() - began))


def shuffled(cases: Sequence[tuple[Pack, Case]], seed: int) -> list[tuple[Pack, Case]]:
    """An order that depends on ids and seed alone, so that leaving cases out changes no other."""
    return sorted(cases, key=lambda pc: hashlib.sha256(f"{seed}/{pc[1].id}".encode()).digest())


def applies(hello: Hello, case: Case) -> bool:
    """Whether an engine said that it can do what a case asks, in the way the case asks it."""
    able = all(map(hello.has, case.features))
    return able and all(hello.behaviours.get(key) == one for key, one in case.when.items())


def _case(state: _Run, pack: Pack, case: Case) -> CaseResult:
    waiver = skipped(state.options.waivers, case.id)
    if waiver is not None:
        return msgspec.structs.replace(result_of(pack, case, "waived"), link=waiver.link)
    if not applies(state.hello, case) or _too_large(state.hello, case):
        return result_of(pack, case, "unsupported")
    if state.silent >= PATIENCE:
        detail = f"{PATIENCE} cases in a row got no answer"
        return result_of(pack, case, "not-run", detail=detail)
    result = _asked(state, pack, case)
    if result.result in ("crash", "timeout"):
        state.silent += 1
        if state.silent == 1:
            result = _asked_alone(state, pack, case, result)
    elif result.result != "protocol-error":
        state.silent = 0
    return result


def _too_large(hello: Hello, case: Case) -> bool:
    held = (*case.inputs, *case.outputs)
    return 0 < hello.max_bytes < max((len(a.hex) // 2 + a.len for a in held), default=0)


def _asked(state: _Run, pack: Pack, case: Case) -> CaseResult:
    limits = state.options.limits
    seconds = limits.hostile_seconds if case.op == HOSTILE else limits.seconds
    request = state.exchange.prepare(pack, case, seconds * limits.patience)
    began = time.perf_counter_ns()
    try:
        reply = state.engine.run(request)
    except ConformanceError as error:
        reply = Reply("crash", detail=str(error))
    taken = (time.perf_counter_ns() - began) // 1000
    result = judge(pack, case, reply, state.exchange.collect(case), state.hello)
    if result.result == "fail" and result.output in state.earlier:
        stale = f"{result.detail}; these are the outputs of {state.earlier[result.output]}"
        result = msgspec.structs.replace(result, detail=stale)
    if result.output and case.outcome == "ok":
        state.earlier.setdefault(result.output, case.id)
    return msgspec.structs.replace(result, microseconds=taken)


def _asked_alone(state: _Run, pack: Pack, case: Case, first: CaseResult) -> CaseResult:
    """Once more in a fresh process: whether it is the case, or what came before it."""
    second = _asked(state, pack, case)
    if second.result != "pass":
        return first
    state.silent = 0
    detail = f"{first.result} ({first.detail}), and it passes alone: it depends on earlier cases"
    return msgspec.structs.replace(first, result="flaky", detail=detail)


def _run_controls(state: _Run, passed: Sequence[tuple[Pack, Case]]) -> None:
    """Cases that passed, asked once more with a corrupt expectation: they have to fail now.

    A control that gets no answer says nothing about the runner, and another takes its place.
    """
    asked = 0
    for pack, case in shuffled(passed, state.options.seed + 1):
        wrong = corrupted(pack, case)
        if wrong is None:
            continue
        result = _asked(state, *wrong).result
        if result in ("pass", "fail"):
            state.controls["missed" if result == "pass" else "caught"] += 1
        asked += 1
        if sum(state.controls.values()) == CONTROLS or asked == 2 * CONTROLS:
            return


def _report(
    state: _Run,
    cases: Sequence[tuple[Pack, Case]],
    found: dict[str, CaseResult],
    seconds: int,
) -> Report:
    options = state.options
    in_order = [found[case.id] for _, case in cases]
    results, problems = apply(options.waivers, in_order, dt.datetime.now(tz=dt.UTC).date())
    problems += why_no_evidence(results, options.expected, state.controls)
    return Report(
        "refquant.conformance-report/1",
        options.suite,
        options.suite_sha256,
        _introduced(state.hello, state.engine.option),
        options.seed,
        options.smoke,
        options.selected,
        tuple(results),
        tuple(problems),
        dict(state.controls),
        seconds,
        state.engine.starts,
        counted(tuple(results)),
    )


def why_no_evidence(
    results: Sequence[CaseResult], expected: int, controls: Mapping[str, int]
) -> list[str]:
    """Why a run says nothing, whatever its results: cases that were not met, controls that were."""
    problems = []
    if len(results) != expected:
        problems.append(f"{len(results)} cases, and the suite has {expected}")
    if controls["missed"]:
        problems.append(f"{controls['missed']} corrupt controls were judged right")
    if not any(one.result not in ("unsupported", "waived", "not-run") for one in results):
        problems.append("not one case was run: the engine's features match none")
    if any(one.result == "pass" for one in results) and not any(controls.values()):
        problems.append("no control could be run")
    return problems


def _introduced(hello: Hello, option: str) -> dict[str, Any]:
    return {
        "name": hello.name,
        "version": hello.version,
        "language": hello.language,
        "features": list(hello.features),
        "behaviours": dict(hello.behaviours),
        "option": option,
    }
