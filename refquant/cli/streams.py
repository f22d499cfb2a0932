"""What stands for the standard streams: they say which of them failed, or was closed (`>&-`)."""

import io
import os
import sys
from typing import Final, TextIO

__all__ = ["STDOUT", "name_failures", "replace_closed", "silence"]

STDOUT: Final = "stdout"
"""What an error of stdout has for a file name."""


class _Output(io.TextIOWrapper):
    """A stdout whose errors have its name, as those of other files have."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from error


class _Notes(io.TextIOWrapper):
    """A stderr that takes no work down with it: what it cannot hold is lost."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            silence(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            silence(self)


class _ClosedOutput(io.TextIOBase):
    """A stdout that says so when something is to be printed; commands that print nothing go on."""

    def write(self, text: str, /) -> int:
        """Refuse any text."""
        from refquant.errors import UsageError

        if not text:
            return 0
        raise UsageError("stdout is closed, and there is something to print on it")


def replace_closed() -> None:
    """Give each of the three streams that Python found closed a stand-in.

    Its number is taken too. A file opened later would get it, and what another process or a library
    prints would go into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", ""), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            stream = os.fdopen(number, mode, encoding="utf-8") if mode else _ClosedOutput()
            setattr(sys, name, stream)


def name_failures() -> None:
    """Put streams in place that behave well where they fail, and in any locale."""
    for name, kind in (("stdout", _Output), ("stderr", _Notes)):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            better = kind(
                stream.buffer,
                stream.encoding,
                newline="\n",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, better)
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Point a stream that takes no more at nothing, so that the interpreter ends quietly."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        # A stream without a file (a test's buffer) has no pipe to break.
        return
