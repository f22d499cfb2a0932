"""The protocol over HTTP, for engines that run in a browser, on a phone or on a board.

`POST /hello` with an engine's introduction; then `GET /next` gives a `run` message whose inputs
hold their bytes in hexadecimal (204 when all are done), and `POST /answer` takes the answer, whose
`out` gives the outputs likewise. `GET /report` is the report so far.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from refquant.conformance.diagnosis import diagnosed
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.evidence import Controls, Options, applies, report_of, shuffled
from refquant.conformance.exchange import Written
from refquant.conformance.judge import judge, result_of
from refquant.conformance.packs import Array, Case, Pack
from refquant.conformance.replies import OUTCOMES, Hello, Reply, answered, hello_of
from refquant.conformance.results import CaseResult, Report
from refquant.conformance.selection import Selection

__all__ = ["Session", "listen"]

MOST_BYTES: Final = 64 << 20
SLOWEST: Final = 10.0
"""Seconds for which a client may say nothing in the middle of a request."""


class Session:
    """One engine's way through the cases."""

    def __init__(self, selection: Selection) -> None:
        self.options = Options.of(selection)
        self.cases = [(pack, case) for pack in selection.packs for case in pack.cases]
        self.began = time.monotonic()
        self.hello: Hello | None = None
        self.results: dict[str, CaseResult] = {}
        self.waiting: list[tuple[Pack, Case]] = []
        self.asked: tuple[Pack, Case] | None = None
        self.controls: Controls | None = None
        self.number = 0

    def introduce(self, data: dict[str, Any]) -> str:
        """Begin anew with an engine; what is wrong with its introduction, if anything."""
        hello = hello_of(data)
        if isinstance(hello, str):
            return hello
        self.hello, self.asked, self.controls = hello, None, None
        able = [pc for pc in self.cases if applies(hello, pc[1]) and "file" not in pc[1].params]
        self.waiting = shuffled(able, self.options.seed)
        self.results = {c.id: result_of(p, c, "unsupported") for p, c in self.cases}
        self.results |= {c.id: result_of(p, c, "not-run") for p, c in able}
        return ""

    def next(self) -> dict[str, Any] | None:
        """The next message, or None when all cases were asked, and some again as controls."""
        if self.hello is None:
            return None
        if self.waiting:
            self.asked = self.waiting.pop(0)
        else:
            self.controls = self.controls or self._controls()
            self.asked = self.controls.next()
        if self.asked is None:
            return None
        self.number += 1
        return _message(self.number, *self.asked)

    def _controls(self) -> Controls:
        passed = [pc for pc in self.cases if self.results[pc[1].id].result == "pass"]
        return Controls(passed, self.options.seed)

    def answer(self, data: dict[str, Any]) -> None:
        """Judge an answer to the last message."""
        if self.asked is None or self.hello is None:
            return
        (pack, case), self.asked = self.asked, None
        reply = answered(data)
        if data.get("seq") != self.number or data.get("outcome") not in OUTCOMES:
            reply = Reply("protocol-error", detail="an answer with another seq or outcome")
        written = _written(case, data.get("out", {}))
        result = judge(pack, case, reply, written, self.hello)
        if self.controls is None:
            self.results[case.id] = result
        else:
            self.controls.count(result)

    def report(self) -> Report:
        """What is known by now."""
        report = report_of(
            self.options,
            (self.hello or Hello("nobody"), ""),
            tuple(self.results.values()),
            self.controls or Controls(),
            seconds=int(time.monotonic() - self.began),
            starts=1,
        )
        return diagnosed(report, self.options.root)


def _message(number: int, pack: Pack, case: Case) -> dict[str, Any]:
    return {
        "cmd": "run",
        "seq": number,
        "op": case.op,
        "params": dict(case.params),
        "in": [{**_described(one), "hex": pack.raw(one).hex()} for one in case.inputs],
        "out": [_described(one) for one in case.outputs],
    }


def _described(array: Array) -> dict[str, Any]:
    return {"name": array.name, "dtype": array.dtype, "shape": list(array.shape)}


def _written(case: Case, given: Any) -> Written:
    written = Written()
    for array in case.outputs:
        text = given.get(array.name) if isinstance(given, dict) else None
        try:
            raw = bytes.fromhex(text or "")
            values = np.frombuffer(raw, DTYPES[array.dtype]).reshape(array.shape)
            written.arrays[array.name] = values
        except (TypeError, ValueError):
            written.problems[array.name] = "the output is missing, or has another size"
    return written


def listen(selection: Selection, port: int, report: Path | None = None) -> "Server":
    """A server on this machine; with `report`, it is written when the last case is answered."""
    return Server(selection, port, report)


class Server(ThreadingHTTPServer):
    """One session and whoever asks for its cases; a client that is slow keeps no other waiting."""

    daemon_threads = True

    def __init__(self, selection: Selection, port: int, report: Path | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.session = Session(selection)
        self.report = report
        self.one_at_a_time = threading.Lock()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of an answer to GET."""
        with self.one_at_a_time:
            if path == "/next":
                message = self.session.next()
                return (200 if message else 204), message
            if path == "/report":
                return 200, msgspec.to_builtins(self.session.report())
        return 404, {"error": "GET /next or /report, POST /hello or /answer"}

    def post(self, path: str, data: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of an answer to POST."""
        with self.one_at_a_time:
            if path == "/hello":
                problem = self.session.introduce(data)
                return (400, {"error": problem}) if problem else (200, {"ok": True})
            if path == "/answer":
                self.session.answer(data)
                if self.report is not None and not self.session.waiting:
                    self.session.report().write(self.report)
                return 200, {"left": len(self.session.waiting)}
        return 404, {"error": "POST /hello or /answer"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone, and all of everything else."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """What a client sends, as JSON or refused."""

    server: Server
    timeout = SLOWEST

    def do_OPTIONS(self) -> None:
        """Let a page of any origin ask."""
        self._send(204, None)

    def do_GET(self) -> None:
        """The next case, or the report."""
        self._send(*self.server.get(self.path))

    def do_POST(self) -> None:
        """An introduction, or an answer."""
        data = self._body()
        if data is None:
            self._send(400, {"error": "expected a JSON object, and its size in Content-Length"})
        else:
            self._send(*self.server.post(self.path, data))

    def _body(self) -> dict[str, Any] | None:
        try:
            size = int(self.headers.get("Content-Length") or 0)
            data = json.loads(self.rfile.read(size)) if 0 < size <= MOST_BYTES else None
        except (ValueError, RecursionError, TimeoutError):
            return None
        return data if isinstance(data, dict) else None

    def _send(self, status: int, data: Any) -> None:
        raw = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Nothing: the report says all."""
