"""The largest of everything that an `.rq` file may hold, and the constants of its layout.

The numbers are normative: a reader refuses more, so that no count in a hostile file can make it
allocate. They stand here once; chapter 12 of the specification repeats them from here.
"""

from typing import Final

__all__ = [
    "ALIGNMENT",
    "BUDGET_FACTOR",
    "BUDGET_FLOOR",
    "MAX_ALIASES",
    "MAX_CHAT_BYTES",
    "MAX_DIMENSION",
    "MAX_DOCUMENT_BYTES",
    "MAX_ELEMENTS",
    "MAX_EOS",
    "MAX_HEADER_BYTES",
    "MAX_MEDIA_BYTES",
    "MAX_NAME_BYTES",
    "MAX_RANK",
    "MAX_RECORD_BYTES",
    "MAX_SCHEMES",
    "MAX_SEGMENTS",
    "MAX_SHARDS",
    "MAX_SHARD_NAME_BYTES",
    "MAX_TENSORS",
    "MAX_WEIGHTS_PER_BYTE",
    "MAX_ZSTD_WINDOW",
    "SMALL_TENSOR",
    "ZSTD_CUT",
    "align",
]

ALIGNMENT: Final = 64
"""Every segment begins at a multiple of this: a cache line, and the widest vector register."""

MAX_SEGMENTS: Final = 1 << 20
MAX_HEADER_BYTES: Final = 64 << 20
MAX_DOCUMENT_BYTES: Final = 64 << 20
MAX_TENSORS: Final = 1 << 18
MAX_ALIASES: Final = 1 << 18
MAX_SCHEMES: Final = 4096
MAX_RECORD_BYTES: Final = 1 << 22
"""Bytes of one record of every plane of every scheme together: each bit of them is looked at."""

MAX_SHARDS: Final = 4096
MAX_SHARD_NAME_BYTES: Final = 128
MAX_RANK: Final = 8
MAX_DIMENSION: Final = 1 << 40
MAX_ELEMENTS: Final = (1 << 53) - 1
MAX_WEIGHTS_PER_BYTE: Final = 64
"""Weights that one stored byte may stand for: eight times the densest codes, of one bit."""

SMALL_TENSOR: Final = 1 << 16
"""A tensor of at most so many weights may have any number of weights per byte: it costs little."""

MAX_NAME_BYTES: Final = 512
MAX_MEDIA_BYTES: Final = 128
MAX_EOS: Final = 1024
MAX_CHAT_BYTES: Final = 1 << 16
"""UTF-8 bytes of each string of a chat."""

ZSTD_CUT: Final = 64 << 20
"""A compressed plane is cut into segments of this many decoded bytes, the last one shorter."""

MAX_ZSTD_WINDOW: Final = 8 << 20
"""Largest window of a frame: what RFC 8878 asks every decoder to support."""

BUDGET_FACTOR: Final = 4
BUDGET_FLOOR: Final = 256 << 20
"""Decoded bytes of all compressed segments: at most the larger of 4 times the file and 256 MiB."""


def align(position: int) -> int:
    """The first multiple of ALIGNMENT that is not before `position`."""
    return -(-position // ALIGNMENT) * ALIGNMENT
