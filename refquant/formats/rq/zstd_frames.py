"""Compressed segments: exactly one zstd frame each, of the plainest kind.

The frame header (RFC 8878, section 3.1.1.1) is parsed here, before the library sees the bytes,
because the library believes a frame's own claims: a frame of 8 KiB may ask for 256 MiB, may be
followed by anything, and may hide behind another.
"""

from typing import Final

import zstandard

from refquant.errors import FormatError
from refquant.formats.rq.limits import MAX_ZSTD_WINDOW

__all__ = ["DEFAULT_LEVEL", "compress", "decompress", "library_version"]

DEFAULT_LEVEL: Final = 3
"""Already near the entropy of packed codes; higher levels gain little and cost much."""

MAX_LEVEL: Final = 19
"""Up to here libzstd keeps the window of 64 MiB within 8 MiB (measured with 1.5.7)."""

_MAGIC: Final = bytes.fromhex("28b52ffd")

# Frame_Header_Descriptor, RFC 8878 section 3.1.1.1.1
_SIZE_CODE: Final = 0b11000000
_SINGLE_SEGMENT: Final = 0b00100000
_UNUSED_OR_RESERVED: Final = 0b00011000
_CHECKSUM: Final = 0b00000100
_DICTIONARY: Final = 0b00000011


def library_version() -> str:
    """The version of libzstd, on which compressed bytes depend and decoded bytes do not."""
    return ".".join(map(str, zstandard.ZSTD_VERSION))


def compress(data: bytes | memoryview, level: int = DEFAULT_LEVEL) -> bytes:
    """One frame with its content size and without checksum or dictionary, on one thread."""
    if not 1 <= level <= MAX_LEVEL:
        raise ValueError(f"zstd level {level}: expected 1..{MAX_LEVEL}, beyond it windows grow")
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=True, write_checksum=False, write_dict_id=False
    )
    return compressor.compress(data)


def decompress(frame: bytes | memoryview, raw_length: int, where: str) -> bytes:
    """The `raw_length` bytes that a frame decodes to; an `E_ZSTD_*` error if it breaks a law.

    Nothing is allocated before the frame has confirmed `raw_length`, which the segment table has
    already bounded.
    """
    _check_header(bytes(frame[:18]), raw_length, where)
    try:
        return _decode(frame)
    except zstandard.ZstdError as error:
        surplus = _surplus(frame)
        if surplus:
            message = f"{surplus} bytes follow the frame"
            raise FormatError("E_ZSTD_TRAIL", message, where=where) from error
        raise FormatError("E_ZSTD_DATA", f"the frame is damaged: {error}", where=where) from error


def _decode(frame: bytes | memoryview) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    return decompressor.decompress(frame, allow_extra_data=False)


def _surplus(frame: bytes | memoryview) -> int:
    """Bytes after a sound first frame; 0 if there are none or the first frame is damaged."""
    end = _frame_length(frame)
    if end is None or end == len(frame):
        return 0
    try:
        _decode(frame[:end])
    except zstandard.ZstdError:
        return 0
    return len(frame) - end


def _check_header(head: bytes, raw_length: int, where: str) -> None:
    """Every law of the frame header, the first failure wins; `head` is its first 18 bytes."""
    if head[:4] != _MAGIC:
        raise FormatError(
            "E_ZSTD_MAGIC", f"begins with {head[:4].hex()}, expected {_MAGIC.hex()}", where=where
        )
    if len(head) < _header_length(head):
        raise FormatError("E_ZSTD_DATA", "the frame ends inside its header", where=where)
    descriptor = head[4]
    if descriptor & _DICTIONARY:
        raise FormatError("E_ZSTD_DICT", "the frame names a dictionary", where=where)
    if descriptor & _CHECKSUM:
        raise FormatError("E_ZSTD_CHECKSUM", "the frame carries a checksum", where=where)
    if descriptor & _UNUSED_OR_RESERVED:
        raise FormatError("E_ZSTD_RESERVED", "a reserved bit of the frame is set", where=where)
    if not descriptor & (_SIZE_CODE | _SINGLE_SEGMENT):
        raise FormatError("E_ZSTD_NOSIZE", "the frame does not state its size", where=where)
    content, window = _content_and_window(head)
    if content != raw_length:
        message = f"the frame decodes to {content} bytes, the table says {raw_length}"
        raise FormatError("E_ZSTD_SIZE", message, where=where)
    if window > MAX_ZSTD_WINDOW:
        message = f"window of {window} bytes, at most {MAX_ZSTD_WINDOW} is allowed"
        raise FormatError("E_ZSTD_WINDOW", message, where=where)


def _size_bytes(descriptor: int) -> int:
    """Width of Frame_Content_Size; its two-bit code 0 means one byte in a single-segment frame."""
    code = descriptor >> 6
    return 1 << code if code or descriptor & _SINGLE_SEGMENT else 0


def _header_length(head: bytes) -> int:
    """Bytes of magic and frame header; 5 if the descriptor itself is missing."""
    if len(head) < 5:
        return 5
    descriptor = head[4]
    dictionary = (0, 1, 2, 4)[descriptor & _DICTIONARY]
    window = 0 if descriptor & _SINGLE_SEGMENT else 1
    return 5 + window + dictionary + _size_bytes(descriptor)


def _content_and_window(head: bytes) -> tuple[int, int]:
    """Frame_Content_Size and Window_Size of a header without dictionary."""
    descriptor = head[4]
    width = _size_bytes(descriptor)
    start = _header_length(head) - width
    content = int.from_bytes(head[start : start + width], "little")
    if width == 2:
        content += 256
    if descriptor & _SINGLE_SEGMENT:
        return content, content
    exponent, mantissa = head[5] >> 3, head[5] & 7
    base = 1 << (10 + exponent)
    return content, base + (base >> 3) * mantissa


def _frame_length(frame: bytes | memoryview) -> int | None:
    """Where the first frame ends, by its block headers; None if it has no end in these bytes."""
    position = _header_length(bytes(frame[:18]))
    while position + 3 <= len(frame):
        block = int.from_bytes(frame[position : position + 3], "little")
        is_last, kind, size = block & 1, block >> 1 & 3, block >> 3
        # An RLE block (kind 1) stores one byte, whatever it decodes to.
        position += 3 + (1 if kind == 1 else size)
        if is_last:
            return position if position <= len(frame) else None
    return None
