"""The runner: the reference passes, and no engine that crashes, hangs, floods or lies does."""

import os
import sys
from math import inf
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from refquant.conformance import exchange, run_folder
from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Hello, Limits, Reply
from refquant.conformance.results import read_report
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from refquant.conformance.waivers import Waiver
from refquant.errors import FormatError
from tests.conftest import REPOSITORY
from tests.engines_that_lie import FAKES

SUITE = REPOSITORY / "conformance"
REFERENCE = f"{sys.executable} -m refquant.conformance.reference"
QUICK = Limits(memory=256 << 20, log_bytes=1 << 18)
SOON = Limits(seconds=0.5, hostile_seconds=0.5, memory=256 << 20)
HANGING = ("hangs", "says_nothing_on_input")


def chosen(*patterns):
    return select(SUITE, patterns or ("ggml-q4_0.decode.*",))


def outcome(engine, found, **options):
    given = {"expected": found.expected, "root": found.root, "limits": engine.limits, **options}
    return run(engine, found.packs, Options(**given))


def fake(name):
    limits = SOON if name in HANGING else QUICK
    return LineEngine(f"{sys.executable} -m tests.engines_that_lie {name}", limits)


def test_the_reference_passes():
    found = chosen("ggml-q4_0.*", "int-affine*")
    report = outcome(LineEngine(REFERENCE, Limits()), found)
    assert report.passed, report.problems
    assert report.counts == {"pass": found.expected}
    assert report.controls["caught"] == 5
    assert report.starts == 1


def test_what_is_to_be_rejected_has_controls_too():
    found = chosen("container.safetensors.*-0")
    report = outcome(LineEngine(REFERENCE, Limits()), found)
    assert report.passed, report.problems
    assert report.controls == {"caught": 5, "missed": 0}


EXPECTED = {
    "crashes": {"crash"},
    "exits_with_0": {"crash"},
    "hangs": {"timeout"},
    "says_nothing_on_input": {"timeout"},
    "writes_nothing": {"fail"},
    "answers_with_another_seq": {"protocol-error"},
    "truncates": {"fail"},
    "removes_outputs": {"fail"},
    "answers_twice": {"protocol-error"},
    "claims_unsupported": {"unsupported-but-declared"},
    "rejects_all": {"fail"},
    "returns_inputs": {"fail"},
    "returns_zeros": {"fail"},
    "allocates_without_end": {"crash"},
    "writes_a_line_without_end": {"protocol-error"},
    "logs_without_end": {"protocol-error"},
    "floods_after_its_answer": {"protocol-error"},
    "dies_of_a_signal_without_a_name": {"crash"},
    "puts_pipes_for_outputs": {"fail"},
    "puts_folders_for_files": {"fail"},
    "puts_a_pipe_for_inputs": {"pass"},
    "removes_the_folder": {"fail"},
    "says_half_a_character": {"fail"},
    "says_a_list_for_text": {"fail"},
    "answers_no_json": {"protocol-error"},
    "answers_a_list": {"protocol-error"},
    "answers_another_word": {"protocol-error"},
    "returns_yesterdays_output": {"pass", "fail"},
    "mixes_noise_in": {"pass"},
    "crashes_once_in_a_while": {"pass", "flaky"},
}


FOLLOWED = ("answers_twice", "floods_after_its_answer")


def test_every_fake_is_expected():
    assert set(EXPECTED) == set(FAKES)


@pytest.mark.parametrize("name", EXPECTED)
def test_fakes(name):
    slow = name in (*HANGING, "allocates_without_end")
    found = chosen("ggml-q4_0.decode.any-bytes") if slow else chosen()
    report = outcome(fake(name), found)
    found = {one.result for one in report.results}
    # What follows an answer may come in after it was judged; then the next case fails.
    assert found == EXPECTED[name] or (name in FOLLOWED and found > EXPECTED[name])
    assert report.passed == (EXPECTED[name] == {"pass"})


def test_what_follows_an_answer_is_read_to_an_end():
    engine = LineEngine("true", QUICK)
    endless = SimpleNamespace(meanwhile=lambda: b"y\n" * 100)
    assert engine._unasked(endless, inf) == "output without end"
    assert engine._unasked(endless, 0) == "output without end"
    lines = iter([b"y\n", b"warning @rq\n@rq {1}\ny\n"])
    assert engine._unasked(SimpleNamespace(meanwhile=lambda: next(lines)), inf).endswith("@rq {1}")


def test_words_of_an_engine_are_cut_and_can_be_written():
    report = outcome(fake("says_half_a_character"), chosen("ggml-q4_0.decode.any-bytes"))
    detail = report.results[0].detail
    assert detail.startswith("error: ?xxx")
    assert len(detail) < 600
    assert detail.encode()
    report = outcome(fake("says_a_list_for_text"), chosen("ggml-q4_0.decode.any-bytes"))
    assert "rejected with <list>" in report.results[0].detail


def test_an_output_left_alone_fails_whatever_its_comparison_accepts(monkeypatch):
    from refquant.conformance import judge
    from refquant.conformance.compare import Verdict

    monkeypatch.setattr(judge, "compare", lambda *_: Verdict(True))
    report = outcome(fake("writes_nothing"), chosen())
    assert set(report.counts) == {"fail"}
    assert report.results[0].detail.endswith("the output was not written")


def test_a_right_answer_is_never_what_stood_there(monkeypatch, tmp_path):
    (pack,) = chosen("ggml-q4_0.decode.any-bytes").packs
    (case,) = pack.cases
    right = pack.raw(case.outputs[0])[:32]
    short = msgspec.structs.replace(
        case.outputs[0], dtype="u8", shape=(32,), off=-1, shared=False, hex=right.hex()
    )
    case = msgspec.structs.replace(case, outputs=(short,))
    monkeypatch.setattr(exchange.hashlib, "sha256", lambda _: SimpleNamespace(digest=lambda: right))
    files = exchange.Exchange(tmp_path, SUITE, 0)
    request = files.prepare(pack, case, 1.0)
    (output,) = request.outputs
    assert Path(output["path"]).read_bytes() == bytes(255 - one for one in right)
    assert exchange.collected(request, case).problems == {short.name: "the output was not written"}
    Path(output["path"]).write_bytes(right)
    assert exchange.collected(request, case).problems == {}


def test_preparing_the_next_case_leaves_this_one_in_place(tmp_path):
    found = chosen("ggml-q4_0.decode.any-bytes", "ggml-q8_0.decode.any-bytes")
    (pack, first), (_, second) = [(pack, case) for pack in found.packs for case in pack.cases]
    files = exchange.Exchange(tmp_path, SUITE, 0)
    request = files.prepare(pack, first, 1.0)
    paths = [Path(one["path"]) for one in (*request.inputs, *request.outputs)]
    before = [path.read_bytes() for path in paths]
    files.prepare(pack, second, 1.0)
    assert [path.read_bytes() for path in paths] == before


def test_an_engine_is_ended_when_its_introduction_is_interrupted():
    class Interrupted:
        starts, option, limits, closed = 0, "", Limits(), False

        def start(self):
            raise KeyboardInterrupt

        def close(self):
            self.closed = True

    engine = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        outcome(engine, chosen())
    assert engine.closed


def test_what_a_killed_run_left_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(run_folder, "folder_in_memory", lambda: str(tmp_path))
    abandoned = tmp_path / f"{run_folder.PREFIX}1"
    abandoned.mkdir()
    (abandoned / "in.bin").touch()
    with run_folder.run_folder() as first:
        assert abandoned.exists(), "it may have been made a moment ago"
        monkeypatch.setattr(run_folder, "JUST_MADE", -1.0)
        with run_folder.run_folder():
            assert not abandoned.exists()
            assert first.exists(), "a run that goes on keeps its folder"
    assert not list(tmp_path.iterdir())


def test_a_busy_machine_has_more_time(monkeypatch):
    for load, factor in ((0.0, 1), (4.0 * os.cpu_count(), 4), (1e3 * os.cpu_count(), 8)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0, 0))
        assert Limits(scale=3).patience == 3 * factor


def test_outputs_of_an_earlier_case_are_called_so():
    found = chosen("ggml-*.decode.any-bytes")
    report = outcome(fake("returns_yesterdays_output"), found)
    assert any("these are the outputs of" in one.detail for one in report.results)


def test_an_engine_that_stays_silent_is_given_up():
    found = chosen("decode/float")
    report = outcome(fake("exits_with_0"), found)
    assert report.counts["crash"] == 10
    assert report.counts["not-run"] == found.expected - 10


def test_a_run_of_nothing_is_no_evidence():
    engine = LineEngine(REFERENCE, Limits())
    engine.start = lambda: Hello("x", features=("zip",))
    report = outcome(engine, chosen())
    assert set(report.counts) == {"unsupported"}
    assert not report.passed
    assert "not one case was run" in report.problems[0]


def test_counts_must_be_the_suite_s():
    report = outcome(LineEngine(REFERENCE, Limits()), chosen(), expected=99)
    assert not report.passed
    assert "and the suite has 99" in report.problems[0]


def test_a_runner_that_judges_everything_right_is_found_out(monkeypatch):
    from refquant.conformance import judge
    from refquant.conformance.compare import Verdict

    monkeypatch.setattr(judge, "compare", lambda *_: Verdict(True))
    report = outcome(LineEngine(REFERENCE, Limits()), chosen())
    assert report.counts == {"pass": len(report.results)}
    assert not report.passed
    assert "corrupt controls were judged right" in report.problems[0]


def test_a_control_without_an_answer_says_nothing_about_the_runner(monkeypatch):
    from refquant.conformance import runner

    found, asked = chosen(), runner._asked
    own = {id(case) for pack in found.packs for case in pack.cases}

    def losing(state, pack, case):
        answer = asked(state, pack, case)
        return answer if id(case) in own else answer._replace(reply=Reply("crash"))

    monkeypatch.setattr(runner, "_asked", losing)
    report = outcome(LineEngine(REFERENCE, Limits()), found)
    assert report.controls == {"caught": 0, "missed": 0}
    assert report.problems == ("no control could be run",)


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP"])
def test_files_lie_in_memory_unless_another_folder_is_asked_for(name, monkeypatch, tmp_path):
    for other in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(exchange, "IN_MEMORY", str(tmp_path))
    monkeypatch.setattr(exchange, "ROOM", 1)
    assert exchange.folder_in_memory() == str(tmp_path)
    monkeypatch.setattr(exchange, "ROOM", 1 << 60)
    assert exchange.folder_in_memory() is None
    monkeypatch.setattr(exchange, "ROOM", 1)
    monkeypatch.setenv(name, "/elsewhere")
    assert exchange.folder_in_memory() is None


LINK = "https://example.org/1"


def test_waivers():
    found = chosen()
    everything = Waiver("ggml-q4_0.*", LINK)
    report = outcome(fake("returns_zeros"), found, waivers=[everything])
    assert report.counts == {"xfail": found.expected}
    assert report.passed
    unexpected = outcome(LineEngine(REFERENCE, Limits()), found, waivers=[everything])
    assert set(unexpected.counts) == {"xpass"}
    assert not unexpected.passed
    other = outcome(LineEngine(REFERENCE, Limits()), found, waivers=[Waiver("nothing", LINK)])
    assert other.problems == ("the waiver of 'nothing' matches no case that was selected",)


def test_a_report_is_read_back_and_a_cut_one_is_not(tmp_path):
    report = outcome(LineEngine(REFERENCE, Limits()), chosen())
    path = tmp_path / "report.json"
    report.write(path)
    assert read_report(path) == report
    text = path.read_text("utf-8")
    path.write_text(text[: len(text) // 2], "utf-8")
    with pytest.raises(FormatError):
        read_report(path)
    path.write_text(text.replace('"pass": ', '"pass": 1'), "utf-8")
    with pytest.raises(FormatError, match="counts"):
        read_report(path)
