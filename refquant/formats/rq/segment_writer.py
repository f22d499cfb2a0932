"""Segments one after another into an open file, hashed as they go by.

Room for preamble and table is left first; table and, last of all, the preamble are filled in at
the end. So a torn file has no magic.
"""

import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any, Final

from refquant.formats.rq import zstd_frames
from refquant.formats.rq.limits import align
from refquant.formats.rq.plan import cut
from refquant.formats.rq.preamble import ENTRY_BYTES, FEATURE_ZSTD, PREAMBLE_BYTES, Preamble
from refquant.formats.rq.segments import (
    CODEC_RAW,
    CODEC_ZSTD,
    KIND_HEADER,
    Segment,
    pack_table,
)

__all__ = ["SegmentWriter"]

_CHUNK: Final = 1 << 20
"""Bytes that are summed and written at once, few enough to stay in a cache between the two."""

_WORTH_A_THREAD: Final = 1 << 16
"""Bytes whose hashing takes longer than telling another thread to do it."""


class SegmentWriter:
    """Puts segments into a file and remembers their entries for the table.

    `segments` is how many there will be; `level` that of zstd, None for a raw file; `features`
    are the bits of the preamble beside the one for zstd.
    """

    def __init__(
        self, file: IO[bytes], segments: int, level: int | None, features: int = 0
    ) -> None:
        self.file = file
        self.level = level
        self.features = features
        self.has_frames = False
        self.entries: list[Segment] = []
        self._hasher = ThreadPoolExecutor(max_workers=1)
        self.position = PREAMBLE_BYTES + ENTRY_BYTES * segments
        file.write(bytes(self.position))

    def add(self, kind: int, data: memoryview) -> None:
        """Store the bytes of one segment, as a frame if that is wanted and smaller."""
        frame = None
        if self.level is not None and kind != KIND_HEADER:
            frame = zstd_frames.compress(data, self.level)
        if frame is None or len(frame) >= len(data):
            self._add_raw(kind, iter([data]))
            return
        self.has_frames = True
        self._pad()
        self.file.write(frame)
        digest = sha256(data).digest()
        self._enter(CODEC_ZSTD, kind, len(frame), len(data), zlib.crc32(frame), digest)

    def add_plane(self, kind: int, size: int, pieces: Iterator[memoryview]) -> list[int]:
        """Store `size` bytes that come in pieces, cut as they are to be; the segments' numbers."""
        first = len(self.entries)
        if self.level is None:
            self._add_raw(kind, pieces)
        else:
            for data in _regrouped(pieces, cut(size, compressed=True)):
                self.add(kind, data)
        return list(range(first, len(self.entries)))

    def _add_raw(self, kind: int, pieces: Iterable[memoryview]) -> None:
        self._pad()
        digest, checksum, size = sha256(), 0, 0
        for piece in pieces:
            with self._hashed_beside(digest, piece):
                for start in range(0, len(piece), _CHUNK):
                    chunk = piece[start : start + _CHUNK]
                    checksum = zlib.crc32(chunk, checksum)
                    self.file.write(chunk)
            size += len(piece)
        self._enter(CODEC_RAW, kind, size, size, checksum, digest.digest())

    @contextmanager
    def _hashed_beside(self, digest: Any, piece: memoryview) -> Iterator[None]:
        """Hash a piece while the block runs, which takes about as long, without Python's lock."""
        if len(piece) < _WORTH_A_THREAD:
            digest.update(piece)
            yield
            return
        hashed = self._hasher.submit(digest.update, piece)
        try:
            yield
        finally:
            # Whoever made the piece may use its memory again.
            hashed.result()

    def _pad(self) -> None:
        padding = align(self.position) - self.position
        self.file.write(bytes(padding))
        self.position += padding

    def _enter(
        self, codec: int, kind: int, stored: int, raw: int, checksum: int, digest: bytes
    ) -> None:
        entry = Segment(self.position, stored, raw, checksum, codec, kind, 0, digest)
        self.entries.append(entry)
        self.position = entry.end

    def finish(self) -> bytes:
        """Write the table, then the preamble, and return the root digest."""
        self._hasher.shutdown()
        table = pack_table(self.entries)
        features = self.features | (FEATURE_ZSTD if self.has_frames else 0)
        preamble = Preamble.of(features, self.position, table)
        self.file.seek(PREAMBLE_BYTES)
        self.file.write(table)
        self.file.seek(0)
        self.file.write(preamble.pack())
        return preamble.root


def _regrouped(pieces: Iterator[memoryview], lengths: Iterable[int]) -> Iterator[memoryview]:
    """The same bytes in pieces of the given lengths, without a copy where one piece is enough.

    Whoever made the pieces raises an error where they are too few.
    """
    rest = memoryview(b"")
    for length in lengths:
        if not rest:
            rest = next(pieces)
        if len(rest) >= length:
            yield rest[:length]
            rest = rest[length:]
            continue
        group = bytearray(rest)
        while len(group) < length:
            piece = next(pieces)
            taken = length - len(group)
            group += piece[:taken]
            rest = piece[taken:]
        yield memoryview(group)
    # What checks the pieces speaks up after the last one.
    for _ in pieces:
        pass
