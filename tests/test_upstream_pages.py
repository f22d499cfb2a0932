"""Every command on `docs/upstream.md` does what the page says it does."""

import re
import shlex

import pytest

from tests.command_line import call
from tests.house import sources

PAGE = (sources.REPOSITORY / "docs" / "upstream.md").read_text("utf-8")
COMMANDS = re.findall(r"^\|[^|]*\| `([^`]+)` \|", PAGE, re.MULTILINE)


def options(command):
    """The words of a command, its files found from anywhere."""
    return [
        str(sources.REPOSITORY / word) if word == "README.md" else word
        for word in shlex.split(command)
    ]


def test_the_page_has_its_commands():
    assert len(COMMANDS) >= 28
    assert all(command.startswith("-") for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(capsys, tmp_path, command):
    words = [*options(command), "--dry-run", "--json"]
    found = call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", *words)
    assert found.status == 0, found.err
    changed = [one for one in found.json["tensors"] if not one["untouched"]]
    assert bool(changed) == (command != "--recipe none")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_writes_a_file_that_runs(capsys, tmp_path, command):
    words = [*options(command), "--quiet"]
    assert call(capsys, "quantize", "demo", "-o", tmp_path / "x.rq", *words).status == 0
    found = call(capsys, "run", tmp_path / "x.rq", "-p", "It is a truth", "-n", 4)
    assert found.status == 0
    assert len(found.out.strip()) > 4
