"""The first 64 bytes of an `.rq` file: what it is, which reader it needs, how long it is.

```
 0  8 bytes  magic           89 52 51 46 0d 0a 1a 0a
 8  u16      major           1
10  u16      minor           informative
12  u32      features        bit 0 zstd, bit 1 shards, bit 2 operators
16  u64      file length     of the whole file
24  u32      segments        1 .. 2^20
28  u32      reserved        0
32  32 bytes root            SHA-256 of bytes 0..31 and the whole segment table
```

All integers are little-endian. The root makes the preamble the top of a Merkle tree: it vouches
for the table, and the table holds a SHA-256 of every segment.
"""

import struct
from hashlib import sha256
from typing import Final, NamedTuple

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.rq.limits import MAX_SEGMENTS

__all__ = [
    "ENTRY_BYTES",
    "FEATURE_NAMES",
    "FEATURE_OPERATORS",
    "FEATURE_SHARDS",
    "FEATURE_ZSTD",
    "MAGIC",
    "MAJOR",
    "MINOR",
    "PREAMBLE_BYTES",
    "Preamble",
    "check_preamble",
    "root_digest",
]

MAGIC: Final = b"\x89RQF\r\n\x1a\n"
"""PNG's trick: a text-mode transfer, a 7-bit line and a swap of bytes each break it visibly."""

MAJOR: Final = 1
MINOR: Final = 0
PREAMBLE_BYTES: Final = 64
ENTRY_BYTES: Final = 64
"""Bytes of one entry of the segment table, which begins right after the preamble."""

FEATURE_ZSTD: Final = 1 << 0
FEATURE_SHARDS: Final = 1 << 1
FEATURE_OPERATORS: Final = 1 << 2
FEATURE_NAMES: Final = {0: "zstd", 1: "shards", 2: "operators"}

_FIXED: Final = struct.Struct("<8sHHIQII")


class Preamble(NamedTuple):
    """The fields of the first 64 bytes, as they stand there."""

    magic: bytes
    major: int
    minor: int
    features: int
    file_length: int
    segment_count: int
    reserved: int
    root: bytes

    @classmethod
    def of(cls, features: int, file_length: int, table: bytes) -> "Preamble":
        """The preamble of a file of this version with the given segment table."""
        count = len(table) // ENTRY_BYTES
        fixed = _FIXED.pack(MAGIC, MAJOR, MINOR, features, file_length, count, 0)
        return cls.unpack(fixed + root_digest(fixed, table))

    @classmethod
    def unpack(cls, data: bytes) -> "Preamble":
        """The preamble that 64 bytes spell; nothing is checked."""
        return cls._make((*_FIXED.unpack_from(data), data[_FIXED.size : PREAMBLE_BYTES]))

    def pack(self) -> bytes:
        """The 64 bytes."""
        return self.fixed() + self.root

    def fixed(self) -> bytes:
        """Bytes 0..31: everything that the root vouches for beside the table."""
        return _FIXED.pack(*self[:-1])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the required features, `bit 7` for one that this version does not know."""
        bits = (bit for bit in range(32) if self.features >> bit & 1)
        return tuple(FEATURE_NAMES.get(bit, f"bit {bit}") for bit in bits)


def root_digest(fixed: bytes, table: bytes) -> bytes:
    """SHA-256 of bytes 0..31 and the segment table."""
    return sha256(fixed + table).digest()


def check_preamble(preamble: Preamble, size: int, known_features: int) -> None:
    """Stage S0 for a file of `size` bytes, its first 64 already read; the first failure wins.

    A wrong major version or a required feature outside `known_features` is an UnsupportedError,
    everything else a FormatError.
    """
    if preamble.magic != MAGIC:
        raise FormatError(
            "E_MAGIC", f"begins with {preamble.magic.hex(' ')}, expected {MAGIC.hex(' ')}", offset=0
        )
    if preamble.major != MAJOR:
        raise UnsupportedError(
            f"the file has major version {preamble.major}, this reader knows {MAJOR}; "
            "a newer refquant may read it",
            code="E_VERSION",
        )
    if unknown := preamble.features & ~known_features:
        names = [FEATURE_NAMES.get(bit, f"bit {bit}") for bit in range(32) if unknown >> bit & 1]
        raise UnsupportedError(
            f"the file needs features this reader lacks: {', '.join(names)}", code="E_FEATURE"
        )
    if preamble.reserved:
        raise FormatError("E_RESERVED", f"word is {preamble.reserved}, expected 0", offset=28)
    if preamble.file_length != size:
        raise FormatError(
            "E_LENGTH",
            f"the file has {size} bytes, its preamble says {preamble.file_length}; "
            "it was cut short, appended to, or is still being written",
            offset=16,
        )
    most = min(MAX_SEGMENTS, (size - PREAMBLE_BYTES) // ENTRY_BYTES)
    if not 1 <= preamble.segment_count <= most:
        raise FormatError(
            "E_COUNT", f"{preamble.segment_count} segments, expected 1..{most}", offset=24
        )
