"""Opening an `.rq` file: the checks S0 to S6 in their fixed order, first failure wins.

S0 preamble, S1 root digest, S2 table entries, S3 end and budget, S4 header checksums,
S5 RQ-MP1, S6 schema and references. Nothing is allocated from a number that has not been checked
against the file's real length, and no tensor's bytes are touched. A model's shards are not opened
here.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from refquant import mp1
from refquant.errors import FormatError, RefquantError
from refquant.formats.rq.header import Header, parse_header
from refquant.formats.rq.preamble import (
    ENTRY_BYTES,
    FEATURE_OPERATORS,
    FEATURE_SHARDS,
    FEATURE_ZSTD,
    PREAMBLE_BYTES,
    Preamble,
    check_preamble,
    root_digest,
)
from refquant.formats.rq.segments import (
    Segment,
    check_end,
    check_segments,
    unpack_table,
)
from refquant.formats.rq.source import Place, Source, open_source

__all__ = ["KNOWN_FEATURES", "Contents", "examine", "is_remote", "read_header"]

KNOWN_FEATURES: Final = FEATURE_ZSTD | FEATURE_SHARDS | FEATURE_OPERATORS
"""Required features that this reader has."""

_ALL_FEATURES: Final = 0xFFFFFFFF


@dataclass(slots=True)
class Contents:
    """What opening a file has established, as far as it went.

    `document` is the header as plain data, `header` the same once it has passed every check, and
    `problem` the first reason why the file cannot be read, None if it can.
    """

    path: str
    file_length: int
    preamble: Preamble | None = None
    segments: tuple[Segment, ...] = ()
    document: Mapping[str, object] | None = field(default=None, repr=False)
    header: Header | None = field(default=None, repr=False)
    problem: RefquantError | None = None

    @property
    def root(self) -> str:
        """The root digest in hex, which identifies the file; empty if there is no preamble."""
        return "" if self.preamble is None else self.preamble.root.hex()


def read_header(place: Place, *, use_mmap: bool = True) -> Contents:
    """Everything about a file but its tensors' bytes, even if the file cannot be read.

    `place` is a path, a URL or a source of bytes; shards are listed and not opened.

    A file that is damaged, or needs a feature this reader lacks, gives what could be established
    and the reason as `problem`; only a path that cannot be opened raises (UsageError).
    """
    source = open_source(place, use_mmap=use_mmap)
    contents = Contents(source.name, source.size)
    try:
        examine(
            source,
            contents,
            features=_ALL_FEATURES,
            with_padding=not is_remote(source),
            as_shard=None,
        )
    except FormatError as error:
        contents.problem = error.at(contents.path)
    except RefquantError as error:
        contents.problem = error
    if contents.preamble is not None and contents.preamble.features & ~KNOWN_FEATURES:
        # Show on, but say what `read` would have said first.
        try:
            check_preamble(contents.preamble, source.size, KNOWN_FEATURES)
        except RefquantError as error:
            contents.problem = error
    return contents


def examine(
    source: Source,
    contents: Contents,
    *,
    features: int = KNOWN_FEATURES,
    budget: int | None = None,
    with_padding: bool = True,
    as_shard: bool | None = False,
) -> Header:
    """Run S0 to S6 over a file, filling `contents` on the way, and return the checked header.

    Without `with_padding` no byte beyond the header is looked at. `as_shard` says whether the file
    must be a shard, or None that it may.
    """
    preamble = _preamble(source, contents, features)
    table = bytes(source.read_at(PREAMBLE_BYTES, ENTRY_BYTES * preamble.segment_count))
    if root_digest(preamble.fixed(), table) != preamble.root:
        raise FormatError("E_TABLE_DIGEST", "preamble and table do not match the root", offset=32)
    contents.segments = segments = unpack_table(table)
    check_segments(segments, source.size, source.read_at if with_padding else None)
    check_end(segments, preamble, budget)
    header = _header_bytes(source, segments[0])
    document = mp1.decode(header, where="header", origin=segments[0].offset)
    contents.document = document if isinstance(document, dict) else None
    features = preamble.features & (FEATURE_SHARDS | FEATURE_OPERATORS)
    contents.header = parse_header(document, segments, features=features, as_shard=as_shard)
    return contents.header


def is_remote(source: Source) -> bool:
    """Whether every read of a source is a request to somewhere else."""
    return source.name.startswith(("http://", "https://"))


def _preamble(source: Source, contents: Contents, features: int) -> Preamble:
    least = PREAMBLE_BYTES + ENTRY_BYTES
    if source.size < least:
        raise FormatError("E_SIZE", f"{source.size} bytes, an .rq file has at least {least}")
    preamble = Preamble.unpack(bytes(source.read_at(0, PREAMBLE_BYTES)))
    contents.preamble = preamble
    check_preamble(preamble, source.size, features)
    return preamble


def _header_bytes(source: Source, segment: Segment) -> bytes:
    header = bytes(source.read_at(segment.offset, segment.stored_length))
    if zlib.crc32(header) != segment.crc32:
        raise FormatError("E_SEG_CRC", "wrong CRC-32", where="header", offset=segment.offset)
    if sha256(header).digest() != segment.sha256:
        raise FormatError("E_SEG_SHA", "wrong SHA-256", where="header", offset=segment.offset)
    return header
