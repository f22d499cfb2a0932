"""Units, tables, escapes and progress."""

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from refquant.cli import output, progress


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (98_362_432, "98.4 MB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (123_456_789_012, "123 GB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(count, text):
    assert output.format_bytes(count) == text


def test_bits_and_counts():
    assert output.format_bits(Fraction(9, 2)) == "4.500"
    assert output.format_count(134515008) == "134 515 008"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("blk.0.attn", "blk.0.attn"),
        ("a\x1b[31mb\x07", "a\\x1b[31mb\\x07"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("right\u202eleft", "right\\u202eleft"),
        ("c1 \x9b", "c1 \\x9b"),
        ("caf\u00e9 \u4e2d", "caf\u00e9 \u4e2d"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_control_and_format_characters_are_shown(text, shown):
    assert output.printable(text) == shown


def test_a_table_in_a_file_is_never_folded(capsys):
    long = "x" * 500
    output.print_table(
        ("name", "n", "why"), [("a", 1, long), ("bcd", 200, "[red]y[/red]")], numeric=[1]
    )
    assert capsys.readouterr().out.splitlines() == [
        "name    n  why",
        f"a       1  {long}",
        "bcd   200  [red]y[/red]",
    ]


def test_json_has_its_schema_and_plain_values(capsys):
    output.emit_json("x", {"bits": Fraction(9, 2), "raw": b"abc", "text": "\x1b"})
    assert capsys.readouterr().out == (
        '{\n  "schema": "refquant.x/1",\n  "bits": 4.5,\n'
        '  "raw": {\n    "bytes": 3\n  },\n  "text": "\\u001b"\n}\n'
    )


class Clock:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def test_plain_progress_is_a_line_every_ten_percent(capsys, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    with progress.progress("working", 1000) as meter:
        for step in range(100):
            meter.start(f"item\x1b{step}")
            meter.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert [line[9:14] for line in lines] == [f"{n:3d} %" for n in range(10, 101, 10)]
    assert lines[0] == "working:  10 % of 1.00 kB, 10 B/s, 90 s left, item\\x1b9"


def test_short_work_shows_nothing(capsys):
    with progress.progress("working", 10) as meter:
        meter.start("item")
        meter.advance(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_gets_a_bar_unless_quiet(monkeypatch, quiet):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("working", 1000, quiet=quiet) as meter:
        meter.start("some.tensor")
        meter.advance(500)
    assert ("some.tensor" in screen.getvalue()) is not quiet


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the fault is Linux's")
def test_peak_memory_is_not_that_of_the_program_before():
    held = bytearray(300 << 20)
    asked = "from refquant.cli.output import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True)
    assert 1 << 20 < int(done.stdout) < len(held)
