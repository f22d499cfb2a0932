"""Work that was killed half-way: the files that keep it, and how much of one is worth keeping.

A writer whose work is long fills a file of a known name beside its target and notes each finished
tensor in the file's own segment table. Whoever goes on takes what the table vouches for: entries
in order, each with the digest of bytes that are read again. So nothing has to be synchronised
while the work goes on, and a torn write costs one tensor.

    .refquant-<24 hex digits of the target's name>-<part>.unfinished

Part 0 is the target itself, or the journal of its set of shards; the others are its shards. The
file is locked while its writer lives.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, NamedTuple

from refquant.errors import FormatError, LimitError, RefquantError, UsageError
from refquant.formats.rq.atomic import lock
from refquant.formats.rq.limits import align
from refquant.formats.rq.plan import Outline, cut
from refquant.formats.rq.preamble import ENTRY_BYTES, PREAMBLE_BYTES
from refquant.formats.rq.segment_writer import SegmentWriter
from refquant.formats.rq.segments import (
    CODEC_RAW,
    KIND_DOCUMENT,
    KIND_HEADER,
    KIND_PLANE,
    Segment,
    unpack_table,
)
from refquant.formats.rq.write import Progress, add_documents, add_tensor
from refquant.formats.rq.zstd_frames import decompress

__all__ = [
    "Kept",
    "always",
    "fill",
    "first_header",
    "is_complete",
    "is_interruption",
    "kept_parts",
    "parts_of",
    "unfinished_file",
    "unfinished_path",
]

_CHUNK: Final = 1 << 20
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def unfinished_path(target: Path, part: int = 0) -> Path:
    """Where unfinished work on `target` is kept."""
    key = sha256(target.name.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return target.parent / f".refquant-{key}-{part:05}.unfinished"


def parts_of(target: Path) -> list[Path]:
    """All files of unfinished work on `target` that are there."""
    first = unfinished_path(target).name
    pattern = first.replace("-00000.", "-?????.")
    return sorted(target.parent.glob(pattern))


@contextmanager
def unfinished_file(path: Path, *, keeps: Callable[[BaseException], bool]) -> Iterator[IO[bytes]]:
    """The file at `path`, open and locked, new if there was none; its writer renames it at the end.

    If the block raises, the file is removed unless `keeps` says of the exception that it may stay.
    Raises `UsageError` where another process is at work on it.
    """
    file = os.fdopen(_opened(path), "r+b")
    try:
        yield file
    except BaseException as error:
        with suppress(OSError):
            file.close()
        if not keeps(error):
            with suppress(OSError):
                path.unlink()
        raise
    finally:
        with suppress(OSError):
            file.close()


def always(_error: BaseException) -> bool:
    """For work that stays, whatever happens."""
    return True


def is_interruption(error: BaseException) -> bool:
    """Whether the same work may succeed later: a signal, a full disk, a worker that died."""
    return isinstance(error, LimitError) or not isinstance(error, RefquantError)


def _opened(path: Path) -> int:
    """The descriptor of the locked file that has this name now."""
    while True:
        try:
            descriptor = os.open(path, _FLAGS | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"cannot write in {path.parent}: {reason}") from error
        if lock(descriptor) is False:
            os.close(descriptor)
            raise UsageError(f"another process is at work on this output (it holds {path})")
        # Before it was locked its last writer may have given it another name, or removed it.
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def fill(
    file: IO[bytes],
    content: Outline,
    level: int | None,
    progress: Progress | None,
) -> SegmentWriter:
    """Put everything of an outline that the file does not have into it, noted by tensors."""
    kept = kept_parts(file, content, compressed=level is not None)
    writer = SegmentWriter(file, content.segments, level, content.features, kept.entries)
    if not kept.entries:
        writer.add(KIND_HEADER, memoryview(content.header))
    add_documents(writer, content.documents[kept.documents :])
    writer.note()
    for number, tensor in enumerate(content.tensors):
        if number >= kept.tensors:
            add_tensor(writer, tensor, progress)
            writer.note()
        elif progress is not None:
            progress(tensor.name, tensor.layout.nbytes(tensor.shape))
    return writer


def first_header(file: IO[bytes]) -> bytes:
    """The header of an unfinished file, as its table vouches for it; nothing if there is none."""
    entries = _entries(file, 1)
    if not entries or entries[0].kind != KIND_HEADER or not _is_whole(file, entries[0]):
        return b""
    file.seek(entries[0].offset)
    return file.read(entries[0].stored_length)


class Kept(NamedTuple):
    """What an unfinished file has already: its entries, and how many documents and tensors."""

    entries: tuple[Segment, ...]
    documents: int
    tensors: int


def kept_parts(file: IO[bytes], content: Outline, *, compressed: bool) -> Kept:
    """The longest beginning of `content` that the file holds, in whole documents and tensors."""
    found = _checked(file, content.segments)
    digest = sha256(content.header).digest()
    if not (found and found[0].kind == KIND_HEADER and found[0].sha256 == digest):
        return Kept((), 0, 0)
    number, documents, tensors = 1, 0, 0
    for document in content.documents:
        if document.data:
            size = cut(len(document.data), compressed=compressed)
            part = found[number : number + len(size)]
            if not _agrees(part, KIND_DOCUMENT, size) or not _holds(part, document.data):
                return Kept(tuple(found[:number]), documents, 0)
            number += len(size)
        documents += 1
    for tensor in content.tensors:
        planes = [
            size
            for plane in sorted(tensor.layout.planes)
            for size in cut(tensor.layout.plane_nbytes(plane, tensor.shape), compressed=compressed)
        ]
        if not _agrees(found[number : number + len(planes)], KIND_PLANE, planes):
            break
        number += len(planes)
        tensors += 1
    return Kept(tuple(found[:number]), documents, tensors)


def is_complete(file: IO[bytes], content: Outline, *, compressed: bool) -> bool:
    """Whether the file holds all of `content`, every byte of it right."""
    kept = kept_parts(file, content, compressed=compressed)
    return (kept.documents, kept.tensors) == (len(content.documents), len(content.tensors)) and (
        len(kept.entries) == content.segments
    )


def _agrees(part: Sequence[Segment], kind: int, sizes: Sequence[int]) -> bool:
    return [(one.kind, one.raw_length) for one in part] == [(kind, size) for size in sizes]


def _holds(part: Sequence[Segment], data: bytes) -> bool:
    """Whether segments are these bytes, by their digests."""
    start = 0
    for one in part:
        if one.sha256 != sha256(data[start : start + one.raw_length]).digest():
            return False
        start += one.raw_length
    return True


def _checked(file: IO[bytes], count: int) -> list[Segment]:
    """The entries of the table, up to the first that its bytes do not bear out."""
    found: list[Segment] = []
    end = PREAMBLE_BYTES + ENTRY_BYTES * count
    for entry in _entries(file, count):
        if entry.flags or entry.offset != align(end) or not _is_whole(file, entry):
            break
        file.seek(end)
        if any(file.read(entry.offset - end)):
            break
        found.append(entry)
        end = entry.end
    return found


def _entries(file: IO[bytes], count: int) -> tuple[Segment, ...]:
    """The first entries of the table, as far as it was filled in."""
    file.seek(PREAMBLE_BYTES)
    table = file.read(ENTRY_BYTES * count)
    whole = unpack_table(table[: len(table) // ENTRY_BYTES * ENTRY_BYTES])
    used = next((n for n, entry in enumerate(whole) if entry.stored_length == 0), len(whole))
    return whole[:used]


def _is_whole(file: IO[bytes], entry: Segment) -> bool:
    """Whether an entry's bytes are all there, by its checksum and its digest."""
    if entry.end > os.fstat(file.fileno()).st_size:
        return False
    file.seek(entry.offset)
    checksum, digest = 0, sha256()
    if entry.codec != CODEC_RAW:
        frame = file.read(entry.stored_length)
        try:
            digest.update(decompress(frame, entry.raw_length, "an unfinished file"))
        except FormatError:
            return False
        return zlib.crc32(frame) == entry.crc32 and digest.digest() == entry.sha256
    left = entry.stored_length
    while left:
        piece = file.read(min(left, _CHUNK))
        if not piece:
            return False
        checksum = zlib.crc32(piece, checksum)
        digest.update(piece)
        left -= len(piece)
    return checksum == entry.crc32 and digest.digest() == entry.sha256
