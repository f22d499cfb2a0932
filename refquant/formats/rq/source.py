"""Where a reader's bytes come from: a mapping of the whole file, or reads of its parts.

A mapping costs nothing until a page is touched and its views need no copy. Network file systems
may kill the process when a mapped file shrinks or the server is gone; there, plain reads are the
better choice.
"""

import mmap
import os
import stat
from pathlib import Path
from threading import Lock
from typing import IO, Protocol
from weakref import finalize

from refquant.errors import FormatError, UsageError

__all__ = ["Source", "open_source"]


class Source(Protocol):
    """Bytes of a known number, to be read anywhere."""

    size: int

    def read(self, offset: int, length: int) -> memoryview:
        """Exactly these bytes, which the caller knows to be inside the file; read-only."""


class MappedSource:
    """The whole file as one read-only mapping, which lives as long as any view of it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self._view = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def read(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


class FileSource:
    """An open file; every read is a copy, and any thread may read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self._file = file
        self._lock = Lock()
        finalize(self, file.close)

    def read(self, offset: int, length: int) -> memoryview:
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(length)
        if len(data) != length:
            raise FormatError("E_LENGTH", "the file has become shorter while open", offset=offset)
        return memoryview(data)


def open_source(path: str | os.PathLike[str], *, use_mmap: bool) -> Source:
    """The bytes of a regular file. Raises UsageError if it cannot be opened."""
    target = Path(path)
    try:
        # Asked before opening, because opening a pipe would wait for its other end.
        if not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(f"cannot open {target}: not a regular file")
        file = target.open("rb")
        size = os.fstat(file.fileno()).st_size
        # An empty file cannot be mapped.
        if not use_mmap or size == 0:
            return FileSource(file, size)
        with file:
            return MappedSource(file, size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot open {target}: {reason}") from error
