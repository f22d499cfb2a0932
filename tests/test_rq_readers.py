"""Readers in other languages give the manifest's answer to every file of the corpus."""

import json
import subprocess

import pytest

from conformance.container import generate, readers

MANIFEST = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
PATHS = [f"{kind}/{name}" for kind in ("valid", "reject") for name in MANIFEST[kind]]


def expected(path):
    """What a reader without zstd says."""
    kind, _, name = path.partition("/")
    entry = MANIFEST[kind][name]
    if code := entry.get("without_zstd") or entry.get("code"):
        return code
    return {key: entry[key] for key in ("tensors", "documents")}


def needed(command):
    if command is None:
        pytest.skip("no Node or no C compiler is installed")
    return command


def assert_agrees(command):
    files = [(generate.CORPUS / path).read_bytes() for path in PATHS]
    found = readers.answers(command, files)
    wrong = {
        path: (answer, expected(path))
        for path, answer in zip(PATHS, found, strict=True)
        if answer != expected(path)
    }
    assert not wrong


def test_javascript_agrees():
    assert_agrees(needed(readers.javascript_command()))


@pytest.mark.parametrize("flags", [["-O2"], ["-g", "-fsanitize=address,undefined"]])
def test_c_agrees(flags, tmp_path):
    assert_agrees(needed(readers.c_command(tmp_path, *flags)))


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_files_can_be_named(language, tmp_path):
    if language == "c":
        command = needed(readers.c_command(tmp_path))[:1]
    else:
        command = needed(readers.javascript_command())[:2]
    paths = ["valid/example.rq", "reject/polyglot.rq"]
    done = subprocess.run(
        [*command, *(str(generate.CORPUS / path) for path in paths), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    found = [readers.normalized(json.loads(line)) for line in done.stdout.splitlines()]
    assert found == [expected(path) for path in paths]
