"""The engine of the example: four formats, decoded to numbers that binary32 holds or rounds."""

import struct
from collections.abc import Iterator

__all__ = ["decode_f16", "decode_mxfp4", "decode_q4_0", "decode_q8_0"]

DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


def decode_q4_0(blocks: bytes) -> Iterator[float]:
    """Blocks of 18 bytes: a scale, then 32 codes, low halves first."""
    for at in range(0, len(blocks), 18):
        (scale,) = struct.unpack_from("<e", blocks, at)
        codes = blocks[at + 2 : at + 18]
        for code in [c & 15 for c in codes] + [c >> 4 for c in codes]:
            yield scale * (code - 8)


def decode_q8_0(blocks: bytes) -> Iterator[float]:
    """Blocks of 34 bytes: a scale, then 32 signed codes."""
    for at in range(0, len(blocks), 34):
        (scale,) = struct.unpack_from("<e", blocks, at)
        for code in struct.unpack_from("<32b", blocks, at + 2):
            yield scale * code


def decode_mxfp4(blocks: bytes) -> Iterator[float]:
    """Blocks of 17 bytes: an exponent, then 32 codes of a table that holds twice the values."""
    for at in range(0, len(blocks), 17):
        scale = 2.0 ** (blocks[at] - 128)
        codes = blocks[at + 1 : at + 17]
        for code in [c & 15 for c in codes] + [c >> 4 for c in codes]:
            yield scale * DOUBLED[code]


def decode_f16(values: bytes) -> Iterator[float]:
    """Binary16, two bytes a value."""
    yield from struct.unpack(f"<{len(values) // 2}e", values)
