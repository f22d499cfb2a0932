"""Sending what is written to the disk while the rest is still being summed.

The last `fsync` of a file waits for all of it. Where the system can begin sooner (Linux), the disk
works beside the checksums. Nothing is promised by it: what a file guarantees, its `fsync` does.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import IO, Final

__all__ = ["Writeback"]

_STEP: Final = 8 << 20
"""Bytes that are sent off together: enough for the disk to be busy with."""

_WRITE: Final = 2
"""`linux/fs.h`, SYNC_FILE_RANGE_WRITE: begin to write dirty pages, and wait for none."""

_WRITE_AND_WAIT: Final = 7
"""The same between WAIT_BEFORE and WAIT_AFTER: until all pages are written."""


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """The system's function, None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


class Writeback:
    """How much of a file that is written from front to back is on its way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sent = 0

    def reached(self, position: int) -> None:
        """Everything before `position` has been written and will not be soon again."""
        length = position - self._sent
        if length < _STEP:
            return
        self._sync(self._sent, length, _WRITE)
        self._sent = position

    def arrive(self, position: int) -> None:
        """Wait for everything before `position`, if it was worth beginning; the sums go on."""
        if self._sent:
            self._file.flush()
            self._sync(0, position, _WRITE_AND_WAIT)

    def _sync(self, start: int, length: int, how: int) -> None:
        begin = _sync_file_range()
        if begin is not None:
            # A failure shows again in `fsync`, and there it counts.
            begin(self._file.fileno(), start, length, how)
