"""An engine with a loop: a child process that is asked one JSON line after the other."""

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from refquant.conformance.child import Child
from refquant.conformance.replies import OUTCOMES, Hello, Limits, Reply, answered, hello_of, shown
from refquant.errors import ConformanceError

if TYPE_CHECKING:
    from refquant.conformance.exchange import Request

__all__ = ["LineEngine"]

ANSWER: Final = re.compile(rb"^@rq (.*)", re.MULTILINE)
BARE: Final = re.compile(rb'^\s*\{.*"(?:engine|cmd)".{,76}', re.MULTILINE)
"""An introduction of who forgot what lines begin with, or an echo of the question."""

UNASKED: Final = re.compile(rb"^@rq .{,76}", re.MULTILINE)


class LineEngine:
    """Speaks the protocol of `conformance/SPEC.md` with one process, which it replaces at need."""

    def __init__(self, command: str, limits: Limits) -> None:
        self.command = command
        self.option = f"--engine {shlex.quote(command)}"
        self.limits = limits
        self.starts = 0
        self._child: Child | None = None
        self._met = False
        self._number = 0

    def begin(self) -> None:
        """Start the process without waiting for it, while the suite is read."""
        self.close()
        self.starts += 1
        try:
            self._child = Child(self.command, self.limits)
        except (OSError, ValueError) as error:
            raise ConformanceError(f"engine {self.command!r} cannot be started: {error}") from error

    def start(self) -> Hello:
        """Be introduced by a process that is new; ConformanceError where that fails."""
        if self._child is None or self._met:
            self.begin()
        self._met = True
        seconds = self.limits.start_seconds * self.limits.patience
        reply = self._ask({"cmd": "hello", "protocol": 1}, seconds, None)
        if reply.kind != "answer":
            raise ConformanceError(
                f"engine {self.command!r} did not introduce itself: {reply.detail or reply.kind}; "
                "it has to answer each line with one that begins with @rq "
                "(`refquant conformance guide`)"
            )
        hello = hello_of(reply.data)
        if isinstance(hello, str):
            raise ConformanceError(f"engine {self.command!r}: {hello}")
        return hello

    def run(self, request: "Request", meanwhile: Callable[[], None]) -> Reply:
        """Ask for one case. After anything but an answer a new process is started for the next."""
        if self._child is None:
            self.start()
        self._number += 1
        message = request.message(self._number)
        return self._ask(message, request.seconds, self._number, meanwhile)

    def close(self) -> None:
        """Say goodbye, and end the process however it takes it."""
        if self._child is None:
            return
        try:
            self._child.write(b'{"cmd": "bye"}\n', time.monotonic() + 0.2)
            self._child.ended(0.2)
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child, self._met = None, False

    def _ask(
        self,
        message: Mapping[str, Any],
        seconds: float,
        number: int | None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Reply:
        child = self._child
        if child is None:
            return Reply("crash", detail="no process")
        deadline = time.monotonic() + seconds
        if extra := self._unasked(child, deadline):
            return self._failed("protocol-error", extra)
        if not child.write(json.dumps(message).encode() + b"\n", deadline):
            return self._ended("it does not read its input")
        meanwhile()
        return self._awaited(child, number, seconds, deadline)

    def _awaited(self, child: Child, number: int | None, seconds: float, deadline: float) -> Reply:
        """The answer, with the lines before it passed over."""
        budget, said = self.limits.log_bytes, b""
        while budget > 0:
            lines = child.lines(deadline)
            if not lines:
                last = f"; the last line was {said[:80].decode('utf-8', 'replace')!r}"
                return self._ended(f"no answer within {seconds:.3g} s{last if said else ''}")
            if found := ANSWER.search(lines):
                if extra := self._unasked(child, deadline, lines[found.end() :]):
                    return self._failed("protocol-error", extra)
                return self._judged(found[1], number)
            if number is None and (bare := BARE.search(lines)):
                words = bare[0].decode("utf-8", "replace")
                return self._failed("protocol-error", f"an answer without @rq before it: {words}")
            said = lines.splitlines()[-1]
            budget -= len(lines)
        return self._failed("protocol-error", "output without end and without an answer")

    def _judged(self, body: bytes, number: int | None) -> Reply:
        try:
            data = json.loads(body, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            return self._failed("protocol-error", f"the answer is not JSON: {error}")
        if not isinstance(data, dict):
            return self._failed("protocol-error", "the answer is not a JSON object")
        seq = data.get("seq")
        if number is not None and (type(seq) is not int or seq != number):
            found = f"seq {shown(seq)}, expected {number}"
            return self._failed("protocol-error", f"an answer with {found}")
        if number is not None and data.get("outcome") not in OUTCOMES:
            found = f"outcome {shown(data.get('outcome'))!r}, expected one of {', '.join(OUTCOMES)}"
            return self._failed("protocol-error", f"an answer with {found}")
        return Reply("answer", data) if number is None else answered(data)

    def _unasked(self, child: Child, deadline: float, lines: bytes = b"") -> str:
        """What is wrong with lines that have come in unasked; a log of some length is not."""
        budget = self.limits.log_bytes
        while lines := lines or child.meanwhile():
            if found := UNASKED.search(lines):
                return f"an answer that nobody asked for: {found[0].decode('utf-8', 'replace')}"
            budget, lines = budget - len(lines), b""
            if budget < 0 or time.monotonic() > deadline:
                return "output without end"
        return ""

    def _ended(self, otherwise: str) -> Reply:
        """Why there is no answer: an end, a line without end, or time."""
        child = self._child
        if child is None:
            return Reply("crash", detail="no process")
        if child.too_long:
            return self._failed("protocol-error", "a line of more than 1 MiB")
        how = child.ended(0.05)
        if how:
            return self._failed("crash", "; ".join(filter(None, [how, child.last_words()])))
        return self._failed("timeout", otherwise)

    def _failed(self, kind: Any, detail: str) -> Reply:
        self._drop()
        return Reply(kind, detail=shown(detail))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found
