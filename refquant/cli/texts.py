"""Texts that a command reads from files which people name."""

import stat
from pathlib import Path

from refquant.errors import UsageError

__all__ = ["decoded", "read_text"]


def read_text(path: Path, what: str) -> str:
    """The text of a file; UsageError, which says what was to be read, where there is none.

    Pipes are read, devices are not: some of them never end.
    """
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise UsageError(f"reading {what} from {path}: it is a device, not a text")
        return decoded(path.read_bytes(), what, str(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"reading {what} from {path}: {reason}") from error


def decoded(data: bytes, what: str, place: str) -> str:
    """The text that bytes spell; UsageError where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"reading {what} from {place}: byte {error.start} is not UTF-8"
        raise UsageError(message) from error
