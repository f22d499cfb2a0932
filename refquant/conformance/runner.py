"""A run: the cases an engine says it can do, in a seeded order, with controls among them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import msgspec

from refquant.conformance.evidence import Controls, Options, applies, report_of, shuffled
from refquant.conformance.exchange import Exchange, Request, Written, collected
from refquant.conformance.judge import judge, result_of
from refquant.conformance.named_files import damaged_files
from refquant.conformance.packs import Case, Pack
from refquant.conformance.replies import Hello, Reply
from refquant.conformance.results import CaseResult, Report
from refquant.conformance.run_folder import run_folder
from refquant.conformance.waivers import skipped
from refquant.errors import ConformanceError

__all__ = ["Engine", "Options", "run"]

PATIENCE: Final = 10
"""Cases in a row without an answer after which the rest is not run."""

MOST_LOST: Final = 60
"""Cases in all that may run out of time or break the protocol: such an engine costs hours."""

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

    def run(self, request: Request, meanwhile: Callable[[], None]) -> Reply:
        """One case; `meanwhile` is called once the engine has something to do."""

    def close(self) -> None:
        """The end."""


class _Answer(NamedTuple):
    """What came back for a case, its outputs read."""

    pack: Pack
    case: Case
    reply: Reply
    written: Written
    microseconds: int


@dataclass(slots=True)
class _Run:
    engine: Engine
    hello: Hello
    exchange: Exchange
    options: Options
    silent: int = 0
    lost: int = 0
    earlier: dict[str, str] = field(default_factory=dict)
    found: dict[str, CaseResult] = field(default_factory=dict)
    waiting: _Answer | None = None
    """An answer that is judged while the engine is busy with the next case."""
    following: tuple[Pack, Case] | None = None
    """The case that comes next, if nothing comes between."""
    prepared: tuple[Case, Request] | None = None
    """The request of it, made while the engine was busy with the case before."""

    def request(self, pack: Pack, case: Case) -> Request:
        """The request of a case: the prepared one, if it is that."""
        (known, request), self.prepared = self.prepared or (None, None), None
        if request is not None and known is case:
            return request
        limits = self.options.limits
        seconds = limits.hostile_seconds if case.op == HOSTILE else limits.seconds
        return self.exchange.prepare(pack, case, seconds * limits.patience)

    def use_the_time(self) -> None:
        """What the runner does while the engine is busy with a case."""
        self.judge_waiting()
        following, self.following = self.following, None
        if following is not None:
            self.prepared = following[1], self.request(*following)

    def judge_waiting(self) -> None:
        answer, self.waiting = self.waiting, None
        if answer is not None:
            self.settle(_judged(self, answer))

    def settle(self, result: CaseResult) -> None:
        self.found[result.id] = result
        self.options.tell(result)


def run(engine: Engine, packs: Sequence[Pack], options: Options) -> Report:
    """Every case of `packs` put to an engine. Raises ConformanceError if it cannot be started."""
    began = time.monotonic()
    cases = [(pack, case) for pack in packs for case in pack.cases]
    with run_folder() as folder:
        try:
            hello = engine.start()
            state = _Run(engine, hello, Exchange(folder, options.root, options.seed), options)
            _put_all(state, shuffled(cases, options.seed))
            passed = [pc for pc in cases if state.found[pc[1].id].result == "pass"]
            controls = _controlled(state, passed)
        finally:
            engine.close()
    in_order = [state.found[case.id] for _, case in cases]
    seconds, who = int(time.monotonic() - began), (hello, engine.option)
    return report_of(
        options,
        who,
        in_order,
        controls,
        seconds=seconds,
        starts=engine.starts,
        changed=damaged_files(options.root, packs),
    )


def _put_all(state: _Run, cases: Sequence[tuple[Pack, Case]]) -> None:
    asked = [one for one in cases if not _is_settled_unasked(state, *one)]
    for (pack, case), following in zip(asked, [*asked[1:], None], strict=False):
        state.following = following
        _put(state, pack, case)
    state.judge_waiting()


def _is_settled_unasked(state: _Run, pack: Pack, case: Case) -> bool:
    """Whether a case needs no answer, because it is waived or the engine does not do such."""
    waiver = skipped(state.options.waivers, case.id)
    if waiver is not None:
        state.settle(msgspec.structs.replace(result_of(pack, case, "waived"), link=waiver.link))
    elif not applies(state.hello, case):
        state.settle(result_of(pack, case, "unsupported"))
    return case.id in state.found


def _put(state: _Run, pack: Pack, case: Case) -> None:
    """One case, unless the engine is given up; an answer is left waiting to be judged."""
    if detail := _given_up(state):
        state.settle(result_of(pack, case, "not-run", detail=detail))
        return
    answer = _asked(state, pack, case)
    if answer.reply.kind == "answer":
        state.silent, state.waiting = 0, answer
        return
    state.judge_waiting()
    state.silent += 1
    state.lost += answer.reply.kind in ("timeout", "protocol-error")
    result = _judged(state, answer)
    if state.silent == 1 and result.result in ("crash", "timeout"):
        result = _asked_alone(state, pack, case, result)
    state.settle(result)


def _given_up(state: _Run) -> str:
    """Why no further case is put to the engine."""
    if state.silent >= PATIENCE:
        return f"{PATIENCE} cases in a row got no answer"
    if state.lost >= MOST_LOST:
        return f"{MOST_LOST} cases ran out of time or broke the protocol"
    return ""


def _asked(state: _Run, pack: Pack, case: Case) -> _Answer:
    request = state.request(pack, case)
    began = time.perf_counter_ns()
    try:
        reply = state.engine.run(request, state.use_the_time)
    except ConformanceError as error:
        reply = Reply("crash", detail=str(error))
    taken = (time.perf_counter_ns() - began) // 1000
    return _Answer(pack, case, reply, collected(request, case), taken)


def _judged(state: _Run, answer: _Answer) -> CaseResult:
    pack, case, reply, written, taken = answer
    result = judge(pack, case, reply, written, state.hello)
    if result.result == "fail" and result.output in state.earlier:
        stale = f"{result.detail}; these are the outputs of {state.earlier[result.output]}"
        result = msgspec.structs.replace(result, detail=stale)
    if result.output and case.outcome == "ok":
        state.earlier.setdefault(result.output, case.id)
    return msgspec.structs.replace(result, microseconds=taken)


def _asked_alone(state: _Run, pack: Pack, case: Case, first: CaseResult) -> CaseResult:
    """Once more in a fresh process: whether it is the case, or what came before it."""
    second = _judged(state, _asked(state, pack, case))
    if second.result != "pass":
        return first
    state.silent = 0
    detail = f"{first.result} ({first.detail}), and it passes alone: it depends on earlier cases"
    return msgspec.structs.replace(first, result="flaky", detail=detail)


def _controlled(state: _Run, passed: Sequence[tuple[Pack, Case]]) -> Controls:
    controls = Controls(passed, state.options.seed)
    while (wrong := controls.next()) is not None:
        controls.count(_judged(state, _asked(state, *wrong)))
    return controls
