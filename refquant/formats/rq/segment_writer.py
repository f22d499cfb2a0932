"""Segments one after another into an open file, hashed as they go by.

Room for preamble and table is left first; table and, last of all, the preamble are filled in at
the end. So a torn file has no magic.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import IO, Final

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
from refquant.formats.rq.sums import Summer, Sums
from refquant.formats.rq.writeback import Writeback

__all__ = ["AHEAD", "SegmentWriter"]

AHEAD: Final = 8 << 20
"""Bytes that may be written and not yet summed when the next ones are asked for."""


class SegmentWriter:
    """Puts segments into a file and remembers their entries for the table.

    `segments` is how many there will be; `level` that of zstd, None for a raw file; `features`
    are the bits of the preamble beside the one for zstd; `kept` are the entries of segments that
    the file has already, after which everything is written anew.
    """

    def __init__(
        self,
        file: IO[bytes],
        segments: int,
        level: int | None,
        features: int = 0,
        kept: Sequence[Segment] = (),
    ) -> None:
        self.file = file
        self.level = level
        self.features = features
        self.has_frames = any(entry.codec == CODEC_ZSTD for entry in kept)
        self._entries: list[tuple[Segment, Sums | None]] = [(one, None) for one in kept]
        self._noted = len(kept)
        self._summer = Summer()
        self._writeback = Writeback(file)
        front = PREAMBLE_BYTES + ENTRY_BYTES * segments
        # What a table says of segments that come anew must not be believed before they are there.
        file.seek(PREAMBLE_BYTES + ENTRY_BYTES * len(kept) if kept else 0)
        file.write(bytes(front - file.tell()))
        self.position = kept[-1].end if kept else front
        file.seek(self.position)
        file.truncate()

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
        self._enter(
            Segment(
                offset=self.position,
                stored_length=len(frame),
                raw_length=len(data),
                crc32=zlib.crc32(frame),
                codec=CODEC_ZSTD,
                kind=kind,
                flags=0,
                sha256=sha256(data).digest(),
            )
        )

    def add_plane(self, kind: int, size: int, pieces: Iterator[memoryview]) -> list[int]:
        """Store `size` bytes that come in pieces, cut as they are to be; the segments' numbers.

        A piece is kept, and must stay as it is, until it has been summed.
        """
        first = len(self._entries)
        if self.level is None:
            self._add_raw(kind, pieces)
        else:
            for data in _regrouped(pieces, cut(size, compressed=True)):
                self.add(kind, data)
        return list(range(first, len(self._entries)))

    def _add_raw(self, kind: int, pieces: Iterable[memoryview]) -> None:
        self._pad()
        sums, size = Sums(), 0
        for piece in pieces:
            self._summer.add(sums, piece)
            self.file.write(piece)
            size += len(piece)
            self._writeback.reached(self.position + size)
            self._summer.wait(AHEAD)
        # The two sums come when they are known.
        self._enter(Segment(self.position, size, size, 0, CODEC_RAW, kind, 0, b""), sums)

    def _pad(self) -> None:
        padding = align(self.position) - self.position
        self.file.write(bytes(padding))
        self.position += padding

    def _enter(self, entry: Segment, sums: Sums | None = None) -> None:
        self._entries.append((entry, sums))
        self.position = entry.end

    def note(self) -> None:
        """Put what there is into the table, for whoever goes on if this process dies."""
        self._summer.wait(0)
        self.file.seek(PREAMBLE_BYTES + ENTRY_BYTES * self._noted)
        self.file.write(self._table(self._noted))
        self.file.seek(self.position)
        self._noted = len(self._entries)

    def finish(self) -> bytes:
        """Write the table, then the preamble, and return the root digest."""
        self._writeback.arrive(self.position)
        self._summer.finish()
        table = self._table(0)
        features = self.features | (FEATURE_ZSTD if self.has_frames else 0)
        preamble = Preamble.of(features, self.position, table)
        self.file.seek(PREAMBLE_BYTES)
        self.file.write(table)
        self.file.seek(0)
        self.file.write(preamble.pack())
        return preamble.root

    def _table(self, first: int) -> bytes:
        """The entries from one on, whose segments have been summed."""
        return pack_table(
            entry if sums is None else entry._replace(crc32=sums.crc32, sha256=sums.sha256())
            for entry, sums in self._entries[first:]
        )


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
