"""The decoded bytes of one file's segments, each verified the first time it is read.

This is stage S8 for a segment: the padding before it, its CRC-32, for a compressed one the frame's
laws and its decoding, and where asked for its SHA-256.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.formats.rq import zstd_frames
from refquant.formats.rq.preamble import ENTRY_BYTES, PREAMBLE_BYTES
from refquant.formats.rq.segments import CODEC_RAW, CODEC_ZSTD, Segment, check_padding
from refquant.formats.rq.source import Source

__all__ = ["Joined", "SegmentReader", "Verify"]

Verify = Literal["fast", "full", "trust"]
Joined = bytes | memoryview | NDArray[np.uint8]

_CHUNK: Final = 1 << 20
"""Bytes of a raw segment that are looked at together where the whole is not wanted at once."""


class SegmentReader:
    """One file's segments. What has been verified once is not verified again."""

    def __init__(self, source: Source, segments: Sequence[Segment], verify: Verify) -> None:
        self.source = source
        self.path = source.name
        self.segments = segments
        self.verify = verify
        self._verified: set[int] = set()

    def check_all(self, progress: Callable[[str, int], None] | None = None) -> None:
        """Stage S8 for every segment, in order, with one segment in memory at most."""
        for number in range(1, len(self.segments)):
            for _ in self.stream(number, f"segment {number}"):
                pass
            if progress is not None:
                progress(f"segment {number}", self.segments[number].stored_length)

    def digest(self, number: int) -> bytes | None:
        """The SHA-256 of a segment's decoded bytes, once it is known to be right."""
        is_known = self.verify == "full" and number in self._verified
        return self.segments[number].sha256 if is_known else None

    def decoded(self, number: int, where: str) -> bytes | memoryview:
        """The bytes of one segment after decoding; raw ones are a view of the source."""
        segment = self.segments[number]
        stored = self._stored(number)
        is_new = number not in self._verified and self.verify != "trust"
        if is_new and zlib.crc32(stored) != segment.crc32:
            self._refuse("E_SEG_CRC", "CRC-32", segment, where)
        raw: bytes | memoryview = stored
        if segment.codec == CODEC_ZSTD:
            raw = self._decompressed(stored, segment, where)
        if is_new and self.verify == "full" and sha256(raw).digest() != segment.sha256:
            self._refuse("E_SEG_SHA", "SHA-256", segment, where)
        self._verified.add(number)
        return raw

    def stream(self, number: int, where: str) -> Iterator[bytes | memoryview]:
        """The same bytes in pieces, a raw segment's without ever having it whole.

        A wrong checksum of a raw segment shows only after its last piece.
        """
        segment = self.segments[number]
        if segment.codec != CODEC_RAW or segment.stored_length <= _CHUNK:
            yield self.decoded(number, where)
            return
        self._check_padding(number)
        checksum, digest = 0, sha256()
        is_new = number not in self._verified and self.verify != "trust"
        for start in range(0, segment.stored_length, _CHUNK):
            length = min(_CHUNK, segment.stored_length - start)
            chunk = self.source.read_at(segment.offset + start, length)
            if is_new:
                checksum = zlib.crc32(chunk, checksum)
                if self.verify == "full":
                    digest.update(chunk)
            yield chunk
        if is_new and checksum != segment.crc32:
            self._refuse("E_SEG_CRC", "CRC-32", segment, where)
        if is_new and self.verify == "full" and digest.digest() != segment.sha256:
            self._refuse("E_SEG_SHA", "SHA-256", segment, where)
        self._verified.add(number)

    def joined(
        self, numbers: tuple[int, ...], where: str
    ) -> bytes | memoryview | NDArray[np.uint8]:
        """The decoded bytes of one plane."""
        if len(numbers) == 1:
            return self.decoded(numbers[0], where)
        segments = [self.segments[number] for number in numbers]
        size = sum(segment.raw_length for segment in segments)
        if all(segment.codec == CODEC_RAW for segment in segments):
            for number in numbers:
                self.decoded(number, where)
            # Cuts fall on multiples of the alignment, so raw pieces follow without padding.
            return self.source.read_at(segments[0].offset, size)
        # Filled piece by piece, so that beside the plane there is one segment in memory.
        plane, position = np.empty(size, np.uint8), 0
        for number in numbers:
            piece = np.frombuffer(self.decoded(number, where), np.uint8)
            plane[position : position + len(piece)] = piece
            position += len(piece)
        plane.flags.writeable = False
        return plane

    def _end_before(self, number: int) -> int:
        """Where the padding of a segment begins."""
        if number == 0:
            return PREAMBLE_BYTES + ENTRY_BYTES * len(self.segments)
        return self.segments[number - 1].end

    def _check_padding(self, number: int) -> None:
        start = self._end_before(number)
        length = self.segments[number].offset - start
        if length and number not in self._verified:
            self._check_zero(number, start, self.source.read_at(start, length))

    def _stored(self, number: int) -> memoryview:
        """A segment's bytes as they are in the file, read together with the padding before it."""
        segment = self.segments[number]
        start = self._end_before(number)
        if number in self._verified:
            start = segment.offset
        found = self.source.read_at(start, segment.end - start)
        padding = segment.offset - start
        self._check_zero(number, start, found[:padding])
        return found[padding:]

    def _check_zero(self, number: int, start: int, padding: memoryview) -> None:
        try:
            check_padding(number, start, padding)
        except FormatError as error:
            raise error.at(self.path) from None

    def _refuse(self, code: str, checksum: str, segment: Segment, where: str) -> None:
        raise FormatError(
            code,
            f"wrong {checksum}: the stored bytes have changed since they were written",
            path=self.path,
            where=where,
            offset=segment.offset,
        )

    def _decompressed(self, stored: memoryview, segment: Segment, where: str) -> bytes:
        try:
            return zstd_frames.decompress(stored, segment.raw_length, where)
        except FormatError as error:
            raise error.at(self.path) from error.__cause__
