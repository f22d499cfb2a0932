"""`refquant conformance` as its users run it: commands, their output and status, and mistakes."""

import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from refquant.cli import main
from refquant.conformance.evidence import CONTROLS
from refquant.conformance.rotated import rotated
from refquant.conformance.selection import select
from refquant.conformance.serve import listen
from tests.conftest import REPOSITORY

SUITE = REPOSITORY / "conformance"
REFERENCE = f"{sys.executable} -m refquant.conformance.reference"
ZEROS = f"{sys.executable} -m tests.engines_that_lie returns_zeros"
CASE = "ggml-q4_0.decode.every-code"


@pytest.fixture
def said(capsys, monkeypatch):
    """What a command prints, and its status; `error` is what it prints as an error."""
    monkeypatch.chdir(REPOSITORY)

    def call(*words):
        status = main(["conformance", *map(str, words)])
        printed = capsys.readouterr()
        call.error = printed.err
        return status, printed.out

    return call


def test_list_shows_packs_or_cases(said):
    status, text = said("list")
    assert status == 0
    assert "decode/ggml" in text
    assert said("list", "ggml-q4_0.decode.*")[1].count("decode.") > 3
    assert CASE in said("list", "--feature", "decode.ggml-q4_0")[1]
    cases = json.loads(said("list", "--smoke", "--json")[1])["cases"]
    assert 100 < len(cases) < 500


def test_show_says_what_a_case_asks(said):
    text = said("show", CASE)[1]
    for words in ("every code", "scheme ggml/q4_0", "q40-swapped", "blocks: u8 [8, 1, 18]"):
        assert words in text
    assert "000000  " in said("show", CASE, "--hex")[1]
    assert json.loads(said("show", CASE, "--json")[1])["id"] == CASE


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A right run and a wrong one in every form."""
    folder = tmp_path_factory.mktemp("reports")
    for name, engine in (("right", REFERENCE), ("wrong", ZEROS)):
        files = [f"--{kind}={folder / f'{name}.{kind}'}" for kind in FORMS]
        wanted = ["ggml-q4_0.*", "container.refused.a*", "--engine", engine, "--quiet"]
        assert main(["conformance", "run", *wanted, *files]) == (name == "wrong")
    return folder


FORMS = ("json", "junit", "html", "badge")


def test_reports_hold_the_run(reports):
    right = json.loads((reports / "right.json").read_text("utf-8"))
    assert set(right["counts"]) == {"pass"}
    assert right["controls"] == {"caught": 5, "missed": 0}
    suites = {name: ET.parse(reports / f"{name}.junit").getroot() for name in NAMES}  # noqa: S314 - our own
    assert suites["right"].get("failures") == "0"
    assert int(suites["wrong"].get("failures")) == len(suites["wrong"].findall(".//failure")) > 10
    badge = ET.parse(reports / "wrong.badge").getroot()  # noqa: S314 - our own
    assert "0 waived" in badge.get("aria-label")
    page = (reports / "wrong.html").read_text("utf-8")
    assert "does not pass" in page
    assert f"refquant conformance replay {CASE}@" in page
    assert ZEROS in page
    assert "<mark>" in page
    assert "passes" in (reports / "right.html").read_text("utf-8")


NAMES = ("right", "wrong")


def test_report_turns_one_form_into_another(said, reports, tmp_path):
    right, wrong = (reports / f"{name}.json" for name in NAMES)
    assert said("report", wrong, "--html", tmp_path / "a", "--junit", tmp_path / "b")[0] == 1
    for kind, path in (("html", "a"), ("junit", "b")):
        written = (tmp_path / path).read_text("utf-8")
        assert written == (reports / f"wrong.{kind}").read_text("utf-8")
    status, table = said("report", right, wrong)
    assert status == 1
    assert [line.split()[0] for line in table.splitlines()] == ["engine", "refquant", "fake"]
    assert json.loads(said("report", right, "--json")[1])["reports"][0]["ok"] is True


def test_diff_tells_worse_from_better(said, reports):
    right, wrong = (reports / f"{name}.json" for name in NAMES)
    assert said("diff", right, right) == (0, "no result changed\n")
    status, text = said("diff", right, wrong)
    assert status == 1
    assert CASE in text
    assert said("diff", wrong, right)[0] == 0
    assert json.loads(said("diff", right, wrong, "--json")[1])["worse"] > 10


def test_diagnose_says_when_nothing_is_known(said, reports):
    assert said("diagnose", reports / "right.json") == (0, "nothing failed\n")
    status, text = said("diagnose", reports / "wrong.json")
    assert status == 1
    assert "failures look like nothing that is known" in text


def test_replay_shows_the_bytes(said):
    status, text = said("replay", CASE, "--engine", ZEROS)
    assert status == 1
    assert "expected   2.21484375 (0x400dc000)" in text
    status, text = said("replay", CASE, "--engine", REFERENCE)
    assert status == 0
    assert "result  pass" in text


def test_a_run_says_how_to_repeat_its_first_failure(said):
    text = said("run", "ggml-q4_0.decode.*", "--engine", ZEROS)[1]
    line = next(line for line in text.splitlines() if line.startswith("again, byte by byte: "))
    name, _, rest = line.partition("replay ")[2].partition(" ")
    assert rest == f"--engine '{ZEROS}'"
    assert said("replay", name, "--engine", ZEROS)[0] == 1


ONCE = """
import struct, sys
from pathlib import Path

folder = Path(sys.argv[1])
lines = [line.split(" ") for line in (folder / "case.txt").read_text().splitlines()]
params = {line[1]: line[2] for line in lines if line[0] == "param"}
if lines[0] != ["op", "decode"] or params["scheme"] != "ggml/q8_0":
    sys.exit(4)
raw = (folder / next(line[4] for line in lines if line[0] == "in")).read_bytes()
values = []
for at in range(0, len(raw), 34):
    (scale,) = struct.unpack_from("<e", raw, at)
    values += [scale * code for code in struct.unpack_from("<32b", raw, at + 2)]
out = next(line[4] for line in lines if line[0] == "out")
Path(out).write_bytes(struct.pack(f"<{len(values)}f", *values))
"""


def test_a_program_that_is_run_once_a_case(said, tmp_path):
    (tmp_path / "once.py").write_text(ONCE, "utf-8")
    command = f"{sys.executable} {tmp_path}/once.py {{dir}}"
    asked = ["run", "decode/ggml", "--engine-exec", command, "--features", "decode.ggml-q8_0"]
    status, text = said(*asked)
    assert status == 0
    assert "3 pass" in text
    wrong = ONCE.replace("at + 2)", "at + 1)")
    (tmp_path / "once.py").write_text(wrong, "utf-8")
    status, text = said(*asked)
    assert status == 1
    assert f"--engine-exec '{command}'" in text


def test_guide_is_at_hand(said):
    assert said("guide")[1].startswith("# conformance\n")
    assert "## Protocol" in said("guide", "--protocol")[1]
    assert said("guide", "--folder")[1] == f"{SUITE}\n"


MISTAKES = {
    "": "give the engine's command",
    "--engine ./nothing-here": "not found; it has to answer each line",
    "--engine 'true'": "did not introduce itself: ended with exit status 0",
    "--engine a --engine-exec 'b {dir}'": "give one engine",
    "--engine-exec a": "must hold {dir}",
    "nothing* --engine true": "no case and no pack is called 'nothing*'",
    "--engine true --suite nowhere": "no suite.json in nowhere",
    "--engine true --timeout-scale 0": "expected a number above 0",
    "--engine true --timeout-scale inf": "above 0, at most 1000",
    "--engine true --memory 0": "expected 16MB to 1000TB",
    """--engine-exec "{dir} 'x" """: "No closing quotation",
    "--engine true --memory much": "--memory 'much' is no size",
    "--engine true --expect nowhere.toml": "nowhere.toml: No such file",
    "--engine true --json nowhere/a.json": "there is no folder nowhere",
    "--engine true --html .": "cannot write .: it is a folder",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told(words, said):
    import shlex

    assert said("run", *shlex.split(words))[0] in (1, 2)
    assert MISTAKES[words] in said.error


def test_a_damaged_list_of_mistakes_costs_their_names_alone(said, tmp_path):
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "kill_matrix.json").write_text('{"mutants": {', "utf-8")
    for name in ("suite.json", "packs"):
        (tmp_path / name).symlink_to(SUITE / name)
    report = tmp_path / "report.json"
    options = ("--engine", ZEROS, "--suite", tmp_path, "--json", report)
    assert said("run", CASE, *options)[0] == 3
    assert "no list of known mistakes" in said.error
    assert json.loads(report.read_text("utf-8"))["counts"] == {"fail": 1}


def test_other_mistakes_are_told(said, tmp_path):
    for words, message in (
        (("show", "nothing"), "no case is called 'nothing'"),
        (("show", f"{CASE}@00000000"), "in this suite, not 00000000"),
        (("diagnose", REPOSITORY / "pyproject.toml"), "no report of a run"),
        (("report", tmp_path / "none.json"), "No such file"),
        (("list", "nothing"), "no case and no pack is called 'nothing'"),
        (("list", "decode/ggm"), "did you mean decode/ggml"),
        (("list", "--feature", "decode.gml"), "no case needs the feature 'decode.gml'"),
        (("serve", "--port", "80000"), "expected 0 to 65535"),
    ):
        assert said(*words)[0] in (2, 3)
        assert message in said.error


@pytest.fixture
def server():
    found = select(SUITE, ["decode/quanto", "ggml-q4_0.decode.*", "container.refused.a*"])
    served = listen(found, 0)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", found
    served.shutdown()
    served.server_close()


def asked(address, data=None):
    body = None if data is None else json.dumps(data).encode()
    with urllib.request.urlopen(urllib.request.Request(address, body)) as reply:  # noqa: S310
        text = reply.read()
        return json.loads(text) if text else None


def answered(message, turned):
    """The reference's answer to a message that carries its arrays; `turned`, with wrong bytes."""
    import numpy as np

    from refquant.conformance.dtypes import DTYPES
    from refquant.conformance.operations import Task, fitted, perform

    inputs = {
        one["name"]: np.frombuffer(bytes.fromhex(one["hex"]), DTYPES[one["dtype"]]).reshape(
            one["shape"]
        )
        for one in message["in"]
    }
    outputs = {one["name"]: (DTYPES[one["dtype"]], tuple(one["shape"])) for one in message["out"]}
    results = fitted(perform(Task(message["op"], message["params"], inputs, outputs)), outputs)
    raw = {name: bytearray(one.tobytes()) for name, one in results.items()}
    if turned:
        first = next(iter(raw.values()))
        first[:] = (255 - byte for byte in first)  # one turned bit could make a NaN another NaN
    out = {name: one.hex() for name, one in raw.items()}
    return {"seq": message["seq"], "outcome": "ok", "out": out}


@pytest.mark.parametrize("turned", [False, True])
def test_serve_puts_the_cases_over_http(server, turned):
    address, found = server
    features = ["decode.ggml-q4_0", "axis"]
    assert asked(f"{address}/hello", {"engine": {"name": "phone"}, "features": features})
    count = 0
    while message := asked(f"{address}/next"):
        asked(f"{address}/answer", answered(message, turned))
        count += 1
    report = asked(f"{address}/report")
    controls = report["controls"]["caught"]
    assert controls == (0 if turned else 5)
    passed = {one["id"] for one in report["results"] if one["result"] == "pass"}
    cases = [(pack, case) for pack in found.packs for case in pack.cases if case.id in passed]
    controls += min(sum(rotated(*one) is not None for one in cases), CONTROLS)
    assert count == report["counts"]["fail" if turned else "pass"] + controls > 3
    assert report["problems"] == []
    assert sum(report["counts"].values()) == found.expected
    engine = report["engine"]
    assert (engine["name"], engine["features"]) == ("phone", features)
    assert engine["limits"] == {"max_bytes": 0}
    assert {"seed", "smoke", "selected", "starts", "suite_sha256"} <= set(report)


def test_serve_keeps_to_what_an_engine_can_hold(server):
    address, found = server
    asked(f"{address}/hello", {**PHONE, "limits": {"max_bytes": 1}})
    assert asked(f"{address}/next") is None
    assert asked(f"{address}/report")["counts"] == {"unsupported": found.expected}


PHONE = {"engine": {"name": "phone"}, "features": ["decode.ggml-q4_0"]}


def test_serve_answers_the_next_while_one_is_slow(server):
    address, _ = server
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /answer HTTP/1.1\r\nContent-Length: 1000\r\n\r\nxx")
        assert asked(f"{address}/report")["counts"] == {}


@pytest.mark.parametrize("length", [None, "abc", "-1", "9" * 5000])
def test_serve_refuses_what_it_cannot_read(server, length):
    address, _ = server
    body = b"[" * 100_000
    request = urllib.request.Request(f"{address}/answer", body)  # noqa: S310 - our own
    if length is not None:
        request.add_header("Content-Length", length)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)  # noqa: S310 - our own


def test_serve_refuses_what_is_no_answer(server):
    address, _ = server
    for path, data in (("hello", {"engine": {}}), ("nothing", {}), ("hello", [])):
        with pytest.raises(urllib.error.HTTPError, match=r"400|404"):
            asked(f"{address}/{path}", data)
    assert asked(f"{address}/next") is None
    asked(f"{address}/hello", {"engine": {"name": "x"}, "features": ["something"]})
    assert asked(f"{address}/next") is None
    assert "not one case was run" in asked(f"{address}/report")["problems"][0]
    asked(f"{address}/hello", {"engine": {"name": "x"}, "features": ["decode.ggml-q4_0"]})
    message = asked(f"{address}/next")
    asked(f"{address}/answer", {"seq": message["seq"] + 1, "outcome": "ok"})
    asked(f"{address}/answer", {"seq": message["seq"], "outcome": "ok"})
    counts = asked(f"{address}/report")["counts"]
    assert counts["protocol-error"] == 1
    assert "pass" not in counts


@pytest.mark.parametrize("command", [["gen", "--check"], ["mutate"]])
def test_cases_are_not_made_without_what_the_oracles_use(command, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "gmpy2", None)
    assert said(*command)[0] == 2
    assert "needs gmpy2; run `make`" in said.error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("option", ["--json", "--junit", "--html", "--badge"])
def test_a_report_that_finds_no_room_is_named(option, said):
    assert said("run", CASE, "--engine", REFERENCE, option, "/dev/full")[0] == 6
    assert said.error.endswith("/dev/full: No space left on device\n")


def test_a_report_takes_the_place_of_the_old_one_at_once(said, tmp_path):
    """It is another file: a reader that has the old one open goes on with it."""
    path = tmp_path / "report.json"
    path.write_text("old", "utf-8")
    with path.open(encoding="utf-8") as old:
        assert said("run", CASE, "--engine", REFERENCE, "--json", path)[0] == 0
        assert old.read() == "old"
    assert json.loads(path.read_text("utf-8"))["counts"] == {"pass": 1}
