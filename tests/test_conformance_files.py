"""Files that cases name: nobody is blamed for one that was damaged, before a run or in it."""

import shutil
import sys

import pytest

from refquant.conformance.line_engine import LineEngine
from refquant.conformance.replies import Limits
from refquant.conformance.runner import Options, run
from refquant.conformance.selection import select
from refquant.errors import FormatError
from tests.conftest import REPOSITORY

CASE = "container.valid.feature_aliases"
SPOILER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["cmd"] == "hello":
        answer = {"engine": {"name": "spoiler"}, "features": ["*"]}
    elif message["cmd"] == "run":
        with open(message["params"]["file"], "ab") as file:
            file.write(b"x")
        answer = {"seq": message["seq"], "outcome": "ok"}
    else:
        break
    print("@rq " + json.dumps(answer), flush=True)
"""


@pytest.fixture
def suite(tmp_path):
    """A copy of the suite that may be spoilt."""
    for part in ("packs", "files"):
        shutil.copytree(REPOSITORY / "conformance" / part, tmp_path / part)
    shutil.copy(REPOSITORY / "conformance" / "suite.json", tmp_path)
    return tmp_path


def test_a_damaged_file_is_told_before_any_engine_meets_it(suite):
    path = suite / "files/container/valid/feature_aliases.rq"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert select(suite, ["container.valid.element_binary32"]).expected == 1
    with pytest.raises(FormatError, match="not the file that its cases were made for"):
        select(suite, [CASE])
    path.unlink()
    with pytest.raises(FormatError, match="feature_aliases"):
        select(suite)


def test_an_engine_that_changes_a_file_is_told_of_it(suite):
    found = select(suite, [CASE])
    engine = LineEngine(f"{sys.executable} {_script(suite)}", Limits())
    report = run(engine, found.packs, Options.of(found))
    assert "files/container/valid/feature_aliases.rq was changed during the run" in report.problems
    assert not report.passed


def _script(folder):
    path = folder / "spoiler.py"
    path.write_text(SPOILER, "utf-8")
    return path
