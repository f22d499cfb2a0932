"""Readers in other languages give the manifest's answer to every file of the corpus."""

import json
import random
import subprocess
from hashlib import sha256

import pytest
import zstandard

from conformance.container import generate, readers
from conformance.container.byte_defects import DEFECTS, TOO_LARGE_TO_KEEP
from conformance.container.parts import DOCUMENT, Payload, assemble, build

MANIFEST = json.loads((generate.CORPUS / "manifest.json").read_text("utf-8"))
PATHS = [f"{kind}/{name}" for kind in ("valid", "run", "reject") for name in MANIFEST[kind]]


def expected(path, *, lacks_zstd=False):
    kind, _, name = path.partition("/")
    entry = MANIFEST[kind][name]
    if lacks_zstd and "without_zstd" in entry:
        return entry["without_zstd"]
    if "code" in entry:
        return entry["code"]
    return {key: entry[key] for key in ("tensors", "documents")}


def expected_to_run(path):
    """What a reader answers that is to run the model, too."""
    return entry_of(path).get("run") or expected(path)


def entry_of(path):
    kind, _, name = path.partition("/")
    return MANIFEST[kind][name]


def needed(command):
    if command is None:
        pytest.skip("no Node or no C compiler is installed")
    return command


def assert_agrees(command):
    files = [(generate.CORPUS / path).read_bytes() for path in PATHS]
    found = readers.answers(command, files)
    wanted = [expected(path, lacks_zstd=readers.lacks_zstd(command)) for path in PATHS]
    wrong = {
        path: (answer, other)
        for path, answer, other in zip(PATHS, found, wanted, strict=True)
        if answer != other
    }
    assert not wrong


def assert_agrees_about_running(command):
    paths = [path for path in PATHS if "without_zstd" not in entry_of(path)]
    files = [(generate.CORPUS / path).read_bytes() for path in paths]
    found = readers.answers([*command, "--run"], files)
    wanted = [expected_to_run(path) for path in paths]
    answers = zip(paths, found, wanted, strict=True)
    assert not {path: (answer, other) for path, answer, other in answers if answer != other}


def test_javascript_agrees_about_running():
    assert_agrees_about_running(needed(readers.javascript_command()))


@pytest.mark.parametrize("flags", [["-O2"], ["-g", "-fsanitize=address,undefined"]])
def test_c_agrees_about_running(flags, tmp_path):
    assert_agrees_about_running(needed(readers.c_command(tmp_path, *flags)))


def test_javascript_agrees():
    assert_agrees(needed(readers.javascript_command()))


@pytest.mark.parametrize("flags", [["-O2"], ["-g", "-fsanitize=address,undefined"]])
def test_c_agrees(flags, tmp_path):
    assert_agrees(needed(readers.c_command(tmp_path, *flags)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TOO_LARGE_TO_KEEP))
def test_files_too_large_to_keep(name, tmp_path):
    code, _, make = DEFECTS[name]
    for command in (needed(readers.javascript_command()), needed(readers.c_command(tmp_path))):
        assert readers.answers(command, [make()]) == [code]


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


def texts_to_compress():
    """Text, noise of few symbols with repetitions, runs, and counters: all kinds of blocks."""
    chance = random.Random(4)
    chapters = sorted((generate.CORPUS.parents[2] / "spec").glob("*.md"))
    yield b"".join(path.read_bytes() for path in chapters)
    yield bytes(200_000)
    yield b"".join(n.to_bytes(4, "little") for n in range(40_000))
    for symbols in (2, 5, 17, 60, 200):
        text = bytearray(chance.choices(range(symbols), k=4000))
        for _ in range(12):
            start, end, size = (chance.randrange(most) for most in (4000, 4000, 90))
            text[start : start + size] = text[end : end + size]
        yield bytes(text)
        yield bytes(min(int(chance.expovariate(5 / symbols)), 255) for _ in range(150_000))


def test_javascript_decodes_what_the_library_encodes():
    files, digests = [], []
    for text in texts_to_compress():
        for level in (1, 3, 9, 19):
            options = {"write_checksum": False, "write_dict_id": False}
            stored = zstandard.ZstdCompressor(level=level, **options).compress(text)
            if len(stored) < len(text):
                parts = assemble([], documents=[("text", "text/plain", text)])
                parts.payloads = [Payload(DOCUMENT, stored, text)]
                parts.preamble["features"] = 1
                files.append(build(parts))
                digests.append(sha256(text).hexdigest())
    assert len(files) > 40
    found = readers.answers(needed(readers.javascript_command()), files)
    assert [answer["documents"]["text"] for answer in found] == digests
