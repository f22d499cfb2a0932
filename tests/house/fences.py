"""Fenced blocks of a Markdown page: found, and run.

What each language means here:

    python    with prompts: run, printed output compared; without: run
    console   lines that begin with `$ ` are commands; lines below are the output to expect
    sh        run; must end with status 0
    toml, json   parsed
    text      shown: a listing or drawing, never code

A comment on the line before a fence changes that, and must give a reason:
`<!-- not run: reason -->`, or `<!-- test-all: reason -->` for what needs the network or minutes.
Expected output may contain `...` for any text.
"""

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fence", "Page", "fences", "run"]

_MARK = re.compile(r"<!-- (not run|test-all)(?:: *(.*?))? *-->\s*")
_OPEN = re.compile(r"( *)(`{3,}|~{3,})(.*)")
_SECONDS = 300
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Lines that a command prints only where a machine is slow.
_PROGRESS = re.compile(r"^.*: +\d+ % of .* s left, .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """One block: its language, text and first line, and what the comment before it says."""

    language: str
    text: str
    line: int
    mark: str
    reason: str


@dataclass
class Page:
    """What the blocks of one page share: names of Python, and a folder to work in."""

    name: str
    folder: Path
    names: dict[str, object]


def fences(text: str) -> Iterator[Fence]:
    """The fenced blocks of a page, in order; an unclosed fence runs to the end of the page."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opened = _OPEN.fullmatch(lines[number])
        if not opened:
            number += 1
            continue
        indent, marker, language = opened.groups()
        mark = _MARK.fullmatch(lines[number - 1].strip()) if number else None
        body = []
        start = number
        number += 1
        while number < len(lines) and not lines[number].strip().startswith(marker):
            body.append(lines[number].removeprefix(indent))
            number += 1
        number += 1
        yield Fence(
            language=language.strip(),
            text="\n".join(body) + "\n",
            line=start + 1,
            mark=mark[1] if mark else "",
            reason=(mark[2] or "") if mark else "",
        )


def run(page: Page, fence: Fence) -> None:
    """Run one block; raises AssertionError with the page and line where it is not as shown."""
    runners = {
        "python": _run_python,
        "console": _run_console,
        "sh": _run_shell,
        "json": lambda _, fence: json.loads(fence.text),
        "toml": lambda _, fence: tomllib.loads(fence.text),
    }
    if fence.language in runners:
        runners[fence.language](page, fence)


def _run_python(page: Page, fence: Fence) -> None:
    place = f"{page.name}:{fence.line}"
    if ">>>" not in fence.text:
        with contextlib.chdir(page.folder):
            exec(compile("\n" * fence.line + fence.text, page.name, "exec"), page.names)  # noqa: S102  # our own pages
        return
    test = doctest.DocTestParser().get_doctest(
        fence.text, page.names, page.name, page.name, fence.line
    )
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=_OPTIONS, verbose=False)
    with contextlib.chdir(page.folder):
        result = runner.run(test, out=report.write, clear_globs=False)
    page.names.update(test.globs)
    assert result.failed == 0, f"{place}: an example prints something else\n{report.getvalue()}"


def _run_console(page: Page, fence: Fence) -> None:
    for command, expected, line in _commands(fence):
        answer = _shell(page, command)
        place = f"{page.name}:{line}: $ {command}"
        assert answer.returncode == 0, f"{place}\nstatus {answer.returncode}\n{answer.stdout}"
        if expected:
            printed = _PROGRESS.sub("", answer.stdout)
            same = doctest.OutputChecker().check_output(expected, printed, _OPTIONS)
            assert same, f"{place}\nshown:\n{expected}\nprinted:\n{answer.stdout}"


def _commands(fence: Fence) -> Iterator[tuple[str, str, int]]:
    """Commands of a console block, each with the output below it and its line on the page."""
    parts = re.split(r"^\$ ", fence.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"line {fence.line}: a console block begins with `$ `"
    line = fence.line + 1 + parts[0].count("\n")
    for part in parts[1:]:
        joined = part.replace("\\\n", "")
        command, _, expected = joined.partition("\n")
        yield command, expected, line
        line += part.count("\n")


def _run_shell(page: Page, fence: Fence) -> None:
    answer = _shell(page, fence.text)
    assert answer.returncode == 0, f"{page.name}:{fence.line}\n{answer.stdout}"


def _shell(page: Page, command: str) -> "subprocess.CompletedProcess[str]":
    scripts = Path(sys.executable).parent
    settings = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=page.folder,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_SECONDS,
        check=False,
    )
