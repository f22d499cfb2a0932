"""The `refquant` command: arguments in, results on stdout, everything else on stderr.

`main` is the entry point. It turns every exit into a status: 0 ok, 1 a comparison or gate failed,
2 usage, 3 invalid or corrupt file, 4 unsupported, 5 would be lossy and was refused, 6 resource
limit, 70 a defect of refquant, 130 interrupted, 141 the reader of stdout went away.
"""

import select
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, TextIO

from refquant.cli.garbage import none_at_the_end
from refquant.cli.streams import STDOUT, name_failures, replace_closed, silence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback, tokens = _take_flag(tokens, "--traceback")
    none_at_the_end()
    replace_closed()
    name_failures()
    _hear_polite_kills()
    try:
        status = _dispatch(tokens)
        sys.stdout.flush()
        return status
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
            silence(sys.stdout)
            return 141
        if isinstance(error, OSError) and error.filename is STDOUT:
            silence(sys.stdout)
        if show_traceback and not isinstance(error, SystemExit):
            raise
        from refquant.cli.failures import report

        return report(error)


def _dispatch(tokens: list[str]) -> int:
    """Answer the root help at once; leave every other line to the parser."""
    from refquant.cli import commands

    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    if tokens in ([], ["--help"], ["-h"]):
        print(commands.root_help())
        return 0
    if tokens == ["--version"]:
        print(commands.version())
        return 0
    return commands.run(tokens)


def _take_flag(tokens: list[str], flag: str) -> tuple[bool, list[str]]:
    """Remove a flag that every command understands, unless it stands behind `--`."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    kept = [token for token in tokens[:end] if token != flag]
    return len(kept) < end, kept + tokens[end:]


def _hear_polite_kills() -> None:
    """Let one run the clean-up of open writers."""
    in_charge = threading.current_thread() is threading.main_thread()
    if in_charge and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit_on_signal)


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _has_no_reader(stream: TextIO) -> bool:
    """Whether nobody will read what is written to a stream, as far as the system tells."""
    if not hasattr(select, "poll"):
        return True
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):
        return False  # A stream without a file, such as a test's buffer.
    return bool(poll.poll(0))
