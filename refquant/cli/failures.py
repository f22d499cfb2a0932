"""What an exception says to the person at the terminal, and the exit status it becomes."""

import errno
import sys

from refquant.errors import RefquantError

__all__ = ["DEFECT", "report"]

DEFECT = 70
"""The status of an error that refquant did not foresee (EX_SOFTWARE of sysexits.h)."""

# A file system that refuses more bytes, handles or memory is a resource limit, not a mistake in
# the request; everything else the operating system refuses (no such file, permission, a folder
# where a file was named) is one.
_LIMITS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EFBIG", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM")
    if hasattr(errno, name)
)


def report(error: BaseException) -> int:
    """Print one line about an error to stderr and return the exit status it stands for."""
    if isinstance(error, SystemExit):
        return _status_of_exit(error)
    message, status = _explain(error)
    if message:
        print(f"refquant: {one_line(message)}", file=sys.stderr)
    return status


def one_line(text: str) -> str:
    """A message on one line, with control characters shown instead of sent to the terminal."""
    from refquant.cli.output import printable

    return printable(" ".join(text.split("\n")))


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, RefquantError):
        return str(error), error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError):
        return f"not enough memory{_detail(error)}", 6
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_os(error)
    name = type(error).__name__
    return (
        f"unexpected {name}{_detail(error)} (a defect of refquant; add --traceback to see where)",
        DEFECT,
    )


def _explain_os(error: OSError) -> tuple[str, int]:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or type(error).__name__
    place = " -> ".join(names)
    status = 6 if error.errno in _LIMITS else 2
    return (f"{place}: {reason}" if place else reason), status


def _detail(error: BaseException) -> str:
    return f": {error}" if str(error) else ""


def _status_of_exit(error: SystemExit) -> int:
    if isinstance(error.code, str):
        print(f"refquant: {error.code}", file=sys.stderr)
        return 1
    return error.code or 0
