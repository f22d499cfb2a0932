"""The protocol over HTTP, for engines that run in a browser, on a phone or on a board.

`POST /hello` with an engine's introduction; then `GET /next` gives a `run` message whose inputs
hold their bytes in hexadecimal (204 when all are done), and `POST /answer` takes the answer, whose
`out` gives the outputs likewise. `GET /report` is the report so far.
"""

import datetime as dt
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from refquant.conformance.diagnosis import diagnosed
from refquant.conformance.dtypes import DTYPES
from refquant.conformance.exchange import Written
from refquant.conformance.judge import corrupted, judge, result_of
from refquant.conformance.packs import Array, Case, Pack
from refquant.conformance.replies import OUTCOMES, Hello, Reply, hello_of
from refquant.conformance.results import CaseResult, Report, counted
from refquant.conformance.runner import CONTROLS, applies, shuffled, why_no_evidence
from refquant.conformance.selection import Selection

__all__ = ["Session", "listen"]

MOST_BYTES = 64 << 20


class Session:
    """One engine's way through the cases."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.began = dt.datetime.now(tz=dt.UTC)
        self.hello: Hello | None = None
        self.results: dict[str, CaseResult] = {}
        self.waiting: list[tuple[Pack, Case]] = []
        self.asked: tuple[Pack, Case] | None = None
        self.controls: dict[str, int] | None = None
        self.number = 0

    def introduce(self, data: dict[str, Any]) -> str:
        """Begin anew with an engine; what is wrong with its introduction, if anything."""
        hello = hello_of(data)
        if isinstance(hello, str):
            return hello
        self.hello, self.results, self.asked, self.controls = hello, {}, None, None
        cases = self._every()
        self.waiting = [pc for pc in cases if applies(hello, pc[1]) and "file" not in pc[1].params]
        for pack, case in cases:
            self.results[case.id] = result_of(pack, case, "unsupported")
        for pack, case in self.waiting:
            self.results[case.id] = result_of(pack, case, "not-run")
        return ""

    def _every(self) -> list[tuple[Pack, Case]]:
        return [(pack, case) for pack in self.selection.packs for case in pack.cases]

    def next(self) -> dict[str, Any] | None:
        """The next message, or None when all cases were asked, and some again as controls."""
        if not self.waiting and self.controls is None:
            self.controls = {"caught": 0, "missed": 0}
            passed = [(p, c) for p, c in self._every() if self.results[c.id].result == "pass"]
            wrong = [corrupted(*pc) for pc in shuffled(passed, 1)]
            self.waiting = [one for one in wrong if one][:CONTROLS]
        if not self.waiting:
            return None
        self.asked = self.waiting.pop(0)
        self.number += 1
        pack, case = self.asked
        inputs = [
            {**_described(one), "hex": pack.array(one).tobytes().hex()} for one in case.inputs
        ]
        return {
            "cmd": "run",
            "seq": self.number,
            "op": case.op,
            "params": dict(case.params),
            "in": inputs,
            "out": [_described(one) for one in case.outputs],
        }

    def answer(self, data: dict[str, Any]) -> None:
        """Judge an answer to the last message."""
        if self.asked is None or self.hello is None:
            return
        (pack, case), self.asked = self.asked, None
        reply = Reply("answer", data)
        if data.get("seq") != self.number or data.get("outcome") not in OUTCOMES:
            reply = Reply("protocol-error", detail="an answer with another seq or outcome")
        written = _written(case, data.get("out", {}))
        result = judge(pack, case, reply, written, self.hello)
        if self.controls is None:
            self.results[case.id] = result
        else:
            self.controls["caught" if result.result == "fail" else "missed"] += 1

    def report(self) -> Report:
        """What is known by now."""
        results = tuple(self.results.values())
        hello = self.hello or Hello("nobody")
        controls = self.controls or {"caught": 0, "missed": 0}
        problems = why_no_evidence(results, self.selection.expected, controls)
        engine = {"name": hello.name, "version": hello.version, "language": hello.language}
        report = Report(
            "refquant.conformance-report/1",
            self.selection.suite.suite,
            self.selection.sha256,
            engine,
            0,
            False,
            self.selection.partial,
            results,
            tuple(problems),
            dict(controls),
            int((dt.datetime.now(tz=dt.UTC) - self.began).total_seconds()),
            1,
            counted(results),
        )
        return diagnosed(report, self.selection.root)


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


def listen(  # noqa: C901 - one small method for each verb
    selection: Selection, port: int, report: Path | None = None
) -> HTTPServer:
    """A server on this machine; with `report`, it is written when the last case is answered."""
    session = Session(selection)

    class Handler(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self._send(204, None)

        def do_GET(self) -> None:
            if self.path == "/next":
                message = session.next() if session.hello else None
                self._send(200 if message else 204, message)
            elif self.path == "/report":
                self._send(200, msgspec.to_builtins(session.report()))
            else:
                self._send(404, {"error": "GET /next or /report, POST /hello or /answer"})

        def do_POST(self) -> None:
            data = self._body()
            if data is None:
                self._send(400, {"error": "expected a JSON object"})
            elif self.path == "/hello":
                problem = session.introduce(data)
                self._send(400 if problem else 200, {"error": problem} if problem else {"ok": True})
            elif self.path == "/answer":
                session.answer(data)
                if report is not None and not session.waiting:
                    session.report().write(report)
                self._send(200, {"left": len(session.waiting)})
            else:
                self._send(404, {"error": "POST /hello or /answer"})

        def _body(self) -> dict[str, Any] | None:
            size = int(self.headers.get("Content-Length") or 0)
            if not 0 < size <= MOST_BYTES:
                return None
            try:
                data = json.loads(self.rfile.read(size))
            except ValueError:
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

    return HTTPServer(("127.0.0.1", port), Handler)
