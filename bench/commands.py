"""Whole commands from process start to exit, as a user meets them, against an empty interpreter."""

import subprocess
import sys
from collections.abc import Iterator

from bench.timing import Comparison, compare

__all__ = ["command_rows"]

COMMANDS = (
    ("refquant --help", ("--help",)),
    ("refquant schemes", ("schemes",)),
    ("refquant run demo -n 1", ("run", "demo", "--prompt", "x", "-n", "1")),
)


def command_rows() -> Iterator[Comparison]:
    """Milliseconds of each command; the peer is `python -c pass`."""
    for label, arguments in COMMANDS:
        yield compare(
            label,
            lambda a=arguments: _run("-m", "refquant", *a),
            "python -c pass",
            lambda: _run("-c", "pass"),
            per=1000,
        )


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
