"""One process, asked line by line: what is an answer, what is none, and how it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from refquant.conformance import runner
from refquant.conformance.child import Child
from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Hello, Limits, Reply
from refquant.conformance.run_folder import run_folder
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from refquant.conformance.waivers import Waiver
from refquant.errors import ConformanceError
from tests.conftest import REPOSITORY

SUITE = REPOSITORY / "conformance"
QUICK = Limits(memory=256 << 20, log_bytes=1 << 18)
FORGETFUL = """sh -c 'read -r _; echo "{\\"engine\\": {}}"; exec sleep 60'"""


def report_of(engine, waivers=()):
    found = select(SUITE, ["decode/float"])
    options = Options(expected=found.expected, root=found.root, limits=QUICK, waivers=waivers)
    return run(engine, found.packs, options)


def test_lines_are_read_many_at_a_time():
    child = Child("""sh -c 'printf "a\\nb\\nc"; exec sleep 60'""", QUICK)
    try:
        soon = time.monotonic() + 60
        assert child.lines(soon) == b"a\nb\n"
        assert child.unfinished == b"c"
        assert child.lines(time.monotonic()) == b""
    finally:
        child.kill()


def test_an_engine_that_only_floods_is_given_up():
    engine = LineEngine(f"{sys.executable} -m tests.engines_that_lie logs_without_end", QUICK)
    report = report_of(engine)
    assert report.counts["protocol-error"] == runner.PATIENCE
    assert set(report.counts) == {"protocol-error", "not-run"}
    waived = report_of(engine, [Waiver("*", "https://example.org/1")])
    assert set(waived.counts) == {"xfail", "not-run"}
    assert not waived.passed


def test_an_engine_that_hangs_now_and_then_is_given_up(monkeypatch):
    class Moody:
        starts, option, asked = 0, "", 0

        def start(self):
            return Hello("moody")

        def run(self, _, meanwhile):
            self.asked += 1
            meanwhile()
            answer = Reply("answer", {"outcome": "ok", "code": "", "detail": ""})
            return Reply("timeout") if self.asked % 3 else answer

        def close(self):
            pass

    monkeypatch.setattr(runner, "MOST_LOST", 4)
    report = report_of(Moody())
    assert report.counts["timeout"] == 4
    assert report.results[-1].detail in ("", "4 cases ran out of time or broke the protocol")
    assert report.counts["not-run"] > 4


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"seq": 0, "seq": 7, "outcome": "ok"}', "a key stands twice"),
        (b'{"seq": 7, "outcome": "error", "outcome": "ok"}', "a key stands twice"),
        (b'{"seq": 7.0, "outcome": "ok"}', "seq 7.0, expected 7"),
        (b'{"seq": NaN, "outcome": "ok"}', "seq nan, expected 7"),
        (b'{"outcome": "ok"}', "expected 7"),
        (b"[" * 100_000, "not JSON"),
        (b'{"seq": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_answers_of_two_meanings_are_none(body, problem):
    engine = LineEngine("true", QUICK)
    reply = engine._judged(body, 7)
    assert reply.kind == "protocol-error"
    assert problem in reply.detail
    assert engine._judged(b'{"seq": 7, "outcome": "ok"}', 7).outcome == "ok"


@pytest.mark.parametrize("command", ["cat", FORGETFUL])
def test_an_introduction_without_its_beginning_is_told_at_once(command):
    engine = LineEngine(command, QUICK)
    try:
        with pytest.raises(ConformanceError, match="without @rq before it"):
            engine.start()
    finally:
        engine.close()


@pytest.mark.skipif(os.name != "posix", reason="guards are shells")
def test_no_engine_outlives_a_killed_runner(tmp_path):
    told = tmp_path / "process"
    engine = f"sh -c 'echo $$ > {told}.new; mv {told}.new {told}; exec sleep 300'"
    script = (
        "from refquant.conformance.line_engine import LineEngine\n"
        "from refquant.conformance.replies import Limits\n"
        f"LineEngine({engine!r}, Limits()).start()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY) as killed:
        _until(told.exists)
        killed.send_signal(signal.SIGKILL)
    number = int(told.read_text("ascii"))
    _until(lambda: not _is_running(number))


def test_a_folder_that_is_replaced_costs_no_report(tmp_path):
    with run_folder() as folder:
        folder.rmdir()
        folder.symlink_to(tmp_path)
    assert folder.is_symlink()
    folder.unlink()


def _is_running(number):
    """A process that has ended may stay in the table, where nobody asks for its status."""
    shown = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip()[:1] not in ("", "Z")


def _until(happened):
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)
