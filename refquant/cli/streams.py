"""What stands for a standard stream that was closed before the command began (`>&-`)."""

import io
import os
import sys

__all__ = ["replace_closed"]


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
