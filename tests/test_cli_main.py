"""The command line as a whole: help, exit statuses, messages, pipes and signals."""

import errno
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refquant import errors
from refquant.cli import main
from refquant.cli.commands import COMMANDS, root_help
from refquant.cli.conformance import conformance
from tests.command_line import call, small_model, spawn

DEFECT_HINT = "a defect of refquant; add --traceback to see where"
NAMES = [command.name for command in COMMANDS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq")


@pytest.mark.parametrize("tokens", [[], ["--help"], ["-h"], ["help"]])
def test_root_help_lists_every_command(capsys, tokens):
    found = call(capsys, *tokens)
    assert found.status == 0
    assert found.out == root_help() + "\n"
    assert all(f"\n  {command.name} " in found.out for command in COMMANDS)


@pytest.mark.parametrize(
    "tokens", [["--help"], ["--version"], *([name, "--help"] for name in NAMES), ["quantise"]]
)
def test_help_and_usage_errors_do_not_import_numpy(tokens):
    program = (
        "import sys\nfrom refquant.cli import main\n"
        f"main({tokens!r})\nsys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


PAGES = [*NAMES, *(f"conformance {name}" for name in conformance if not name.startswith("-"))]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_help_is_made_alike(capsys, page):
    text = call(capsys, *page.split(), "--help").out
    usage, _, rest = text.partition("\n")
    assert usage.startswith(f"Usage: refquant {page} ")
    assert "[ARGS" not in usage
    headings = [line for line in rest.splitlines() if re.fullmatch("[A-Z][a-z]+", line)]
    assert headings in (["Arguments", "Options"], ["Options"], ["Commands"])
    assert "\nFor example:\n" in rest
    named = re.findall(r"\n  ([A-Z]+) ", rest.partition("\nArguments\n")[2].partition("\n\n")[0])
    assert [word.strip("[.]") for word in usage.split() if word.strip("[.]") in named] == named


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_examples_and_json(capsys, name):
    found = call(capsys, name, "--help")
    assert found.status == 0
    assert found.out.startswith(f"Usage: refquant {name} ")
    assert f"  refquant {name} " in found.out.split("For example:")[1]
    assert "--json" in found.out
    assert found.out == call(capsys, "help", name).out
    assert not any(line.endswith(" ") for line in found.out.splitlines())


def test_a_command_is_a_function_in_the_file_of_its_name():
    for command in COMMANDS:
        module, _, function = command.target.partition(":")
        assert module == f"refquant.cli.{command.name}"
        assert callable(getattr(importlib.import_module(module), function))


def test_version_is_the_packages(capsys):
    import refquant

    assert call(capsys, "--version").out == f"refquant {refquant.__version__}\n"


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["quantise"], 'Unknown command "quantise". Did you mean "quantize"?'),
        (["run", "demo", "--promt", "x"], "Unknown option: --promt. Did you mean --prompt?"),
        (["run"], "run needs MODEL."),
        (["quantize", "x", "-o", "y.rq"], "quantize needs one of --scheme, --recipe, --quantize"),
        (["run", "demo", "-p", "two", "words"], "unexpected 'words'; a text that holds"),
        (
            ["run", "demo", "-p", "x", "-n", "many"],
            'Invalid value for -n: unable to convert "many"',
        ),
        (
            ["run", "demo", "-p", "x", "--weights", "int8"],
            'Choose from: "auto", "float32", "u8", "packed".',
        ),
        (["run", "demo", "-p", "x", "-n", "1.5"], "-n is 1.5, expected a whole number."),
        (["explain", "q4_0", "--block", "0.9"], "--block is 0.9, expected a whole number."),
        (["conformance", "run", "--jobs", "2"], "Unknown option: --jobs."),
        (["conformance", "run", "--seed"], "conformance run needs a value for --seed."),
        (["conformance", "show"], "conformance show needs NAME."),
        (["--bogus"], 'Unknown command "--bogus".'),
    ],
)
def test_usage_errors_are_one_line_with_a_way_out(capsys, tokens, message):
    found = call(capsys, *tokens)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith("refquant: ")
    assert message in found.err
    assert found.err.count("\n") == 1
    named = tokens[: 1 + (tokens[0] == "conformance")]
    page = " ".join(["refquant", *(named if tokens[0] in NAMES else []), "--help"])
    assert found.err.endswith(f"See `{page}`.\n")


def raising(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (errors.ConformanceError("differs"), 1, "differs"),
        (errors.SchemeError("does not fit", scheme="x/y"), 2, "x/y: does not fit"),
        (errors.FormatError("E_X", "bad", path="a.rq", offset=3), 3, "bad (a.rq, byte 3) [E_X]"),
        (errors.UnsupportedError("not here"), 4, "not here"),
        (errors.LossError("would lose"), 5, "would lose"),
        (errors.LimitError("too much"), 6, "too much"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 6, "not enough memory"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.rq"), 2, "x.rq: No such file"),
        (OSError(errno.ENOSPC, "No space left", "x.rq"), 6, "x.rq: No space left"),
        (SystemExit(143), 143, ""),
        (errors.UsageError("two\nlines \x1b[31mred"), 2, "two lines \\x1b[31mred"),
        (
            ZeroDivisionError("by zero"),
            70,
            f"unexpected ZeroDivisionError: by zero ({DEFECT_HINT})",
        ),
    ],
)
def test_errors_become_one_line_and_a_status(capsys, monkeypatch, error, status, message):
    monkeypatch.setattr("refquant.library.resolve", raising(error))
    found = call(capsys, "inspect", "x")
    assert found.status == status
    assert found.err == (f"refquant: {message}\n" if message else "")


def test_traceback_lets_the_error_out(monkeypatch):
    monkeypatch.setattr("refquant.library.resolve", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "x", "--traceback"])


def test_a_closed_pipe_ends_quietly(model):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "refquant", "run", str(model), "-p", "x", "-n", "8"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_another_pipe_that_breaks_is_an_error(model):
    """Only a closed stdout is the reader's wish; a broken pipe inside is told."""
    code = (
        "import refquant.library\n"
        "def broken(*_): raise BrokenPipeError(32, 'Broken pipe')\n"
        "refquant.library.resolve = broken\n"
        "from refquant.cli import main\n"
        "raise SystemExit(main(['inspect', 'x']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"refquant: Broken pipe\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["schemes", "run demo -p It -n 2 --stats"])
def test_streams_that_hold_nothing(words, unbuffered):
    command = f'"$0" -m refquant {words}'
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}

    def ends(script):
        full = ["sh", "-c", script, sys.executable]
        done = subprocess.run(full, capture_output=True, check=False, env=environment)
        return done.returncode, bool(done.stdout), done.stderr

    assert ends(f"{command} >/dev/full") == (
        6,
        False,
        b"refquant: stdout: No space left on device\n",
    )
    assert ends(f"{command} 2>/dev/full") == (0, True, b"")
    assert ends(f"{command} --no 2>/dev/full") == (2, False, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_status(number, status):
    program = (
        "import os, sys\nfrom refquant import library\nfrom refquant.cli import main\n"
        f"library.resolve = lambda name: os.kill(os.getpid(), {int(number)})\n"
        "sys.exit(main(['inspect', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


def test_text_that_the_locale_cannot_spell_is_escaped(model):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = spawn("run", model, "-p", "caf\u00e9", "-n", "1", "--echo", env=environment)
    assert done.returncode == 0
    assert done.stdout.startswith(b"caf\\xe9")


def test_python_dash_m_is_the_command():
    assert spawn("--version").stdout == spawn("--version").stdout != b""


@pytest.mark.skipif(os.name == "nt", reason="the shell is POSIX's")
@pytest.mark.parametrize(
    ("closed", "words", "status", "told"),
    [
        (">&-", "schemes --json", 2, b"refquant: stdout is closed"),
        (">&-", "run demo -p It -n 1", 2, b"refquant: stdout is closed"),
        (">&-", "convert demo small.rq --quiet", 0, b""),
        ("2>&-", "run demo -p It -n 1 --stats", 0, b""),
        ("<&-", "run demo -p - -n 1", 2, b"the prompt has no tokens"),
    ],
)
def test_a_stream_that_was_closed_before(tmp_path, closed, words, status, told):
    script = f'exec "$0" -m refquant {words} {closed}'
    command = ["sh", "-c", script, sys.executable]
    found = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert found.returncode == status
    assert told in found.stderr
    assert found.stderr.count(b"\n") == bool(told)
