"""Where a reader's bytes come from: a mapping, reads of a file, ranges of a URL, or a caller's own.

A mapping costs nothing until a page is touched and its views need no copy. Network file systems
may kill the process when a mapped file shrinks or the server is gone; there, plain reads are the
better choice.
"""

import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import IO, Protocol, runtime_checkable
from weakref import finalize

from refquant.errors import FormatError, UsageError

__all__ = ["FileSource", "MappedSource", "MemorySource", "Place", "Source", "open_source"]


@runtime_checkable
class Source(Protocol):
    """Bytes of a known number, to be read anywhere; and the files beside them."""

    @property
    def name(self) -> str:
        """What errors call this file."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read_at(self, offset: int, length: int, /) -> memoryview:
        """Exactly these bytes, which the caller knows to be inside the file; read-only."""

    def sibling(self, name: str, /) -> "Source | None":
        """The file of that name in the same place; None if there is none.

        The caller has checked that the name is a plain file's name and leads nowhere else.
        """


Place = str | os.PathLike[str] | Source
"""A path, the URL of a server that gives ranges, or anything else that bytes can be read from."""


class MappedSource:
    """The whole file as one read-only mapping, which lives as long as any view of it."""

    def __init__(self, file: IO[bytes], size: int, path: str | os.PathLike[str] = "") -> None:
        self.size = size
        self.name = os.fspath(path)
        self._view = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def read_at(self, offset: int, length: int) -> memoryview:
        """A view of these bytes."""
        return self._view[offset : offset + length]

    def sibling(self, name: str) -> Source | None:
        """The regular file of that name in the same folder."""
        return _beside(self.name, name, use_mmap=True)


class FileSource:
    """An open file; every read is a copy, and any thread may read."""

    def __init__(self, file: IO[bytes], size: int, path: str | os.PathLike[str] = "") -> None:
        self.size = size
        self.name = os.fspath(path)
        self._file = file
        self._lock = Lock()
        finalize(self, file.close)

    def read_at(self, offset: int, length: int) -> memoryview:
        """A copy of these bytes."""
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(length)
        if len(data) != length:
            raise FormatError("E_LENGTH", "the file has become shorter while open", offset=offset)
        return memoryview(data)

    def sibling(self, name: str) -> Source | None:
        """The regular file of that name in the same folder."""
        return _beside(self.name, name, use_mmap=False)


class MemorySource:
    """A file that is in memory, among others that it may refer to."""

    def __init__(
        self,
        data: bytes | memoryview,
        siblings: Mapping[str, bytes] | None = None,
        name: str = "<memory>",
    ) -> None:
        self._view = memoryview(data).toreadonly()
        self._siblings = siblings or {}
        self.name = name
        self.size = len(self._view)

    def read_at(self, offset: int, length: int) -> memoryview:
        """A view of these bytes."""
        return self._view[offset : offset + length]

    def sibling(self, name: str) -> Source | None:
        """Another of the files given along."""
        if name not in self._siblings:
            return None
        return MemorySource(self._siblings[name], self._siblings, name)


def _beside(path: str, name: str, *, use_mmap: bool) -> Source | None:
    """The regular file `name` in the folder of `path`; a link to one is as good."""
    place = Path(path).parent / name
    if not place.is_file():
        return None
    return open_source(place, use_mmap=use_mmap)


def open_source(place: Place, *, use_mmap: bool = True) -> Source:
    """The bytes of a regular file, of a URL, or the source itself.

    Raises UsageError if it cannot be opened.
    """
    if isinstance(place, str) and place.startswith(("http://", "https://")):
        # Needed by few, and slow to import: it brings TLS with it.
        from refquant.formats.rq.http_source import HttpSource  # noqa: PLC0415 - see above

        return HttpSource(place)
    if not isinstance(place, str | os.PathLike):
        return place
    target = Path(place)
    try:
        # Asked before opening, because opening a pipe would wait for its other end.
        if not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(f"cannot open {target}: not a regular file")
        file = target.open("rb")
        size = os.fstat(file.fileno()).st_size
        # An empty file cannot be mapped.
        if not use_mmap or size == 0:
            return FileSource(file, size, target)
        with file:
            return MappedSource(file, size, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot open {target}: {reason}") from error
