"""A run: the cases an engine says it can do, in a seeded order, with controls among them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from refquant.conformance.evidence import Controls, Options, applies, report_of, shuffled
from refquant.conformance.exchange import Exchange, Request
from refquant.conformance.judge import judge, result_of
from refquant.conformance.packs import Case, Pack
from refquant.conformance.replies import Hello, Reply
from refquant.conformance.results import CaseResult, Report
from refquant.conformance.run_folder import run_folder
from refquant.conformance.waivers import skipped
from refquant.errors import ConformanceError

__all__ = ["Engine", "Options", "run"]

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


@dataclass(slots=True)
class _Run:
    engine: Engine
    hello: Hello
    exchange: Exchange
    options: Options
    silent: int = 0
    earlier: dict[str, str] = field(default_factory=dict)


def run(engine: Engine, packs: Sequence[Pack], options: Options) -> Report:
    """Every case of `packs` put to an engine. Raises ConformanceError if it cannot be started."""
    began = time.monotonic()
    cases = [(pack, case) for pack in packs for case in pack.cases]
    with run_folder() as folder:
        try:
            hello = engine.start()
            state = _Run(engine, hello, Exchange(folder, options.root, options.seed), options)
            found = {}
            for pack, case in shuffled(cases, options.seed):
                found[case.id] = _case(state, pack, case)
                options.tell(found[case.id])
            passed = [pc for pc in cases if found[pc[1].id].result == "pass"]
            controls = _controlled(state, passed)
        finally:
            engine.close()
    in_order = [found[case.id] for _, case in cases]
    seconds, who = int(time.monotonic() - began), (hello, engine.option)
    return report_of(options, who, in_order, controls, seconds=seconds, starts=engine.starts)


def _case(state: _Run, pack: Pack, case: Case) -> CaseResult:
    waiver = skipped(state.options.waivers, case.id)
    if waiver is not None:
        return msgspec.structs.replace(result_of(pack, case, "waived"), link=waiver.link)
    if not applies(state.hello, case):
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


def _controlled(state: _Run, passed: Sequence[tuple[Pack, Case]]) -> Controls:
    controls = Controls(passed, state.options.seed)
    while (wrong := controls.next()) is not None:
        controls.count(_asked(state, *wrong))
    return controls
