"""The segment table: where each run of bytes lies, how it is stored, and its two checksums.

```
 0  u64      offset          the first multiple of 64 after the previous segment
 8  u64      stored length   bytes in the file, at least 1
16  u64      raw length      bytes after decoding
24  u32      crc32           CRC-32/ISO-HDLC (zlib's) of the stored bytes
28  u8       codec           0 raw, 1 zstd
29  u8       kind            0 header (segment 0 only), 1 tensor plane, 2 document
30  u16      flags           0
32  32 bytes sha256          of the decoded bytes
```

An offset is implied by the lengths before it. It is stored all the same, so that one comparison
refuses every overlap, hole, swap and wrap-around, and so that random access needs no sum.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from refquant.errors import FormatError
from refquant.formats.rq.limits import (
    BUDGET_FACTOR,
    BUDGET_FLOOR,
    MAX_HEADER_BYTES,
    ZSTD_CUT,
    align,
)
from refquant.formats.rq.preamble import ENTRY_BYTES, FEATURE_ZSTD, PREAMBLE_BYTES, Preamble

__all__ = [
    "CODEC_RAW",
    "CODEC_ZSTD",
    "KIND_DOCUMENT",
    "KIND_HEADER",
    "KIND_NAMES",
    "KIND_PLANE",
    "Segment",
    "check_end",
    "check_padding",
    "check_segments",
    "pack_table",
    "unpack_table",
]

CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1

KIND_HEADER: Final = 0
KIND_PLANE: Final = 1
KIND_DOCUMENT: Final = 2
KIND_NAMES: Final = ("header", "tensor plane", "document")

_ENTRY: Final = struct.Struct("<QQQIBBH32s")


class Segment(NamedTuple):
    """One entry of the table, as it stands there."""

    offset: int
    stored_length: int
    raw_length: int
    crc32: int
    codec: int
    kind: int
    flags: int
    sha256: bytes

    @property
    def end(self) -> int:
        """One past the last stored byte. Only after the checks is it known to be in the file."""
        return self.offset + self.stored_length


def pack_table(segments: Iterable[Segment]) -> bytes:
    """The bytes of the table."""
    return b"".join(_ENTRY.pack(*segment) for segment in segments)


def unpack_table(table: bytes) -> tuple[Segment, ...]:
    """The entries that the bytes spell; nothing is checked."""
    return tuple(map(Segment._make, _ENTRY.iter_unpack(table)))


def check_segments(
    segments: Sequence[Segment],
    file_length: int,
    read: Callable[[int, int], bytes | memoryview] | None,
) -> None:
    """Stage S2: every entry in order, the first failure wins.

    `read(offset, length)` gives stored bytes; it is asked for padding only, inside the file.
    Without it padding is left to whoever reads the segment after it.
    """
    end = PREAMBLE_BYTES + ENTRY_BYTES * len(segments)
    for index, segment in enumerate(segments):
        _check_kind(index, segment)
        _check_place(index, segment, end, file_length)
        if read is not None and segment.offset > end:
            check_padding(index, end, read(end, segment.offset - end))
        _check_lengths(index, segment)
        end = segment.end


def check_padding(index: int, start: int, padding: bytes | memoryview) -> None:
    """Refuse bytes between two segments that are not zero."""
    if any(padding):
        raise _refusal("E_PAD", index, "the padding before it is not zero", offset=start)


def _refusal(code: str, index: int, message: str, offset: int | None = None) -> FormatError:
    """The error for one entry; it points at the entry itself unless told another byte."""
    at = PREAMBLE_BYTES + ENTRY_BYTES * index if offset is None else offset
    return FormatError(code, message, where=f"segment {index}", offset=at)


def _check_kind(index: int, segment: Segment) -> None:
    if segment.flags:
        raise _refusal("E_SEG_FLAGS", index, f"flags are {segment.flags:#06x}, expected 0")
    if segment.codec > CODEC_ZSTD or (index == 0 and segment.codec != CODEC_RAW):
        expected = "0 (raw), for a header is never compressed" if index == 0 else "0 or 1"
        raise _refusal("E_SEG_CODEC", index, f"codec {segment.codec}, expected {expected}")
    if segment.kind > KIND_DOCUMENT or (index == 0) != (segment.kind == KIND_HEADER):
        expected = "0 (header)" if index == 0 else "1 (tensor plane) or 2 (document)"
        raise _refusal("E_SEG_KIND", index, f"kind {segment.kind}, expected {expected}")


def _check_place(index: int, segment: Segment, end: int, file_length: int) -> None:
    expected = align(end)
    if segment.offset != expected:
        raise _refusal("E_SEG_OFFSET", index, f"offset {segment.offset}, expected {expected}")
    # Written with a subtraction, because in 64-bit arithmetic offset + length can wrap.
    if segment.offset > file_length or segment.stored_length > file_length - segment.offset:
        raise _refusal(
            "E_SEG_BOUNDS",
            index,
            f"{segment.stored_length} bytes from {segment.offset} leave the file of {file_length}",
        )


def _check_lengths(index: int, segment: Segment) -> None:
    stored, raw = segment.stored_length, segment.raw_length
    if stored == 0:
        raise _refusal("E_SEG_EMPTY", index, "it has no bytes")
    if segment.codec == CODEC_RAW and raw != stored:
        raise _refusal("E_SEG_RAWLEN", index, f"raw, but {stored} bytes stand for {raw}")
    if segment.codec == CODEC_ZSTD and raw > ZSTD_CUT:
        raise _refusal("E_ZSTD_RAWMAX", index, f"decodes to {raw} bytes, at most {ZSTD_CUT} may")
    if segment.codec == CODEC_ZSTD and raw <= stored:
        raise _refusal("E_ZSTD_NOGAIN", index, f"{stored} compressed bytes stand for {raw}")
    if index == 0 and raw > MAX_HEADER_BYTES:
        raise _refusal("E_LIMIT", index, f"a header of {raw} bytes, at most {MAX_HEADER_BYTES}")


def check_end(segments: Sequence[Segment], preamble: Preamble, budget: int | None) -> None:
    """Stage S3: the last segment ends the file, the zstd bit tells the truth, no bomb."""
    end = segments[-1].end
    if end != preamble.file_length:
        surplus = preamble.file_length - end
        raise FormatError("E_LENGTH", f"{surplus} bytes follow the last segment", offset=end)
    compressed = [s.raw_length for s in segments if s.codec == CODEC_ZSTD]
    if bool(compressed) != bool(preamble.features & FEATURE_ZSTD):
        found = f"{len(compressed)} compressed segments"
        raise FormatError("E_FEATURE", f"the zstd bit is wrong: {found}", offset=12)
    most = max(BUDGET_FACTOR * preamble.file_length, BUDGET_FLOOR) if budget is None else budget
    if sum(compressed) > most:
        raise FormatError(
            "E_BUDGET",
            f"compressed segments decode to {sum(compressed)} bytes, the budget is {most}; "
            "raise it if the file's source is trusted",
        )
