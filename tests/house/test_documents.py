"""Pages tell the truth: their examples run, their links lead somewhere, their targets exist."""

import ast
import re
import subprocess

import pytest

from tests.house import sources
from tests.house.fences import Page, fences, run

CODE = {"python", "console", "sh"}
DATA = {"toml", "json", "text"}
PAGES = {sources.relative(path): path for path in sources.documents()}


def read(path):
    return list(fences(path.read_text("utf-8")))


def unexplained(found):
    """Reasons why the fences of a page would escape being run, as (line, reason)."""
    for fence in found:
        if fence.mark and len(fence.reason.split()) < 3:
            yield fence.line, f"'{fence.mark}' needs a reason of some words"
        elif fence.language not in CODE | DATA and fence.mark != "not run":
            yield fence.line, f"nothing runs {fence.language or 'a fence without language'!r}"
        elif fence.language == "text" and re.search(r"^(\$|>>>) ", fence.text, re.MULTILINE):
            yield fence.line, "commands and prompts belong in a console or python fence"


@pytest.mark.parametrize("name", PAGES)
def test_no_fence_escapes(name):
    found = [f"{name}:{line}: {reason}" for line, reason in unexplained(read(PAGES[name]))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        pytest.param(name, mark, marks=[pytest.mark.slow] if mark else [])
        for name, path in PAGES.items()
        for mark in ("", "test-all")
        if any(fence.language in CODE and fence.mark == mark for fence in read(path))
    ],
)
def test_fences_run(name, mark, tmp_path):
    page = Page(name, tmp_path, {})
    for fence in read(PAGES[name]):
        if fence.mark == mark:
            run(page, fence)


def test_the_runner_notices(tmp_path):
    page = Page("made up", tmp_path, {})
    wrong = [
        "```python\n>>> 1 + 1\n3\n```",
        "```python\nraise ValueError\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ false\n```",
        "```console\n$ echo one\none\n$ echo two\nthree\n```",
        "```sh\ntrue\nfalse\n```",
        "```toml\n= 3\n```",
    ]
    for text in wrong:
        (fence,) = fences(text)
        with pytest.raises((AssertionError, ValueError)):
            run(page, fence)
    right = "```python\n>>> x = 1\n>>> x + 1\n2\n```\n```python\nassert x == 1\n```\n"
    right += "```console\n$ echo one; echo two\none\n...\n$ pwd\n```\n"
    for fence in fences(right):
        run(page, fence)


@pytest.mark.parametrize(
    "text",
    [
        "```\nx\n```",
        "```c\nint x;\n```",
        "<!-- not run -->\n```python\nx\n```",
        "<!-- not run: no -->\n```python\nx\n```",
        "```text\n$ rm x\n```",
    ],
)
def test_the_guard_notices(text):
    assert list(unexplained(fences(text)))


def test_make_targets_named_on_pages_exist():
    text = (sources.REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    named = {
        (target, name)
        for name, path in PAGES.items()
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", path.read_text("utf-8"))
    }
    assert not {pair for pair in named if pair[0] not in targets}


def test_make_prints_its_targets(repository):
    answer = subprocess.run(
        ["make", "--no-print-directory"], cwd=repository, capture_output=True, text=True, check=True
    )
    listed = re.findall(r"^  make ([a-z-]+) +\S", answer.stdout, re.MULTILINE)
    assert {"run", "test", "test-all", "check", "bench", "demo-model", "clean"} <= set(listed)


def test_tests_named_on_pages_exist():
    written = {
        node.name
        for path in sources.python_files()
        if sources.relative(path).startswith("tests/")
        for node in sources.tree_of(path).body
        if isinstance(node, ast.FunctionDef)
    }
    named = {
        (test, name)
        for name, path in PAGES.items()
        for test in re.findall(r"`(test_\w+)`", path.read_text("utf-8"))
    }
    assert not {pair for pair in named if pair[0] not in written}


def test_files_named_on_pages_exist():
    """A path in backticks is a file or folder; `<family>` and the like stand for any."""
    missing = []
    for name, page in PAGES.items():
        for path in re.findall(r"`([\w<>./-]+/[\w<>./-]*)`", page.read_text("utf-8")):
            base = page.parent if path.startswith(".") else sources.REPOSITORY
            if not (base / path.split("/")[0]).is_dir() or "<" in path:
                continue
            if not (base / path).exists():
                missing.append(f"{name}: {path}")
    assert not missing, "\n".join(missing)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    made = set()
    for heading in re.findall(r"^#+ +(.*)", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        made.add(words.strip().replace(" ", "-"))
    return made


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = PAGES[name]
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        inside = path.is_relative_to(sources.REPOSITORY)
        if not inside or not path.exists():
            broken.append(target)
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            broken.append(f"{target}: no such heading")
    assert not broken, f"{name}: {broken}"
