"""Writing `.rq`: one pass, memory bounded by one tensor, all or nothing.

Room for preamble and table is left first; then come the header and the segments, hashed as they
go by; the table and, last of all, the preamble are filled in at the end. So a torn file has no
magic, and the same plan always gives the same bytes: nothing of the machine, the time or the
order of insertion goes in.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import IO, Final, Literal

import numpy as np

from refquant.errors import FormatError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import zstd_frames
from refquant.formats.rq.atomic import atomic_file
from refquant.formats.rq.codes import check_codes
from refquant.formats.rq.limits import align
from refquant.formats.rq.plan import Buffer, Outline, Plan, PlannedTensor, cut, outline
from refquant.formats.rq.preamble import ENTRY_BYTES, FEATURE_ZSTD, PREAMBLE_BYTES, Preamble
from refquant.formats.rq.read import StoredTensors
from refquant.formats.rq.segments import (
    CODEC_RAW,
    CODEC_ZSTD,
    KIND_DOCUMENT,
    KIND_HEADER,
    KIND_PLANE,
    Segment,
    pack_table,
)
from refquant.tensor import QuantizedTensor

__all__ = [
    "Compression",
    "Progress",
    "plan_checkpoint",
    "write",
    "write_checkpoint",
]

Compression = Literal["zstd"]
Progress = Callable[[str, int], None]
"""Called with each tensor's name and byte count once it is written."""

_CHUNK: Final = 1 << 20
"""Bytes that are hashed and written at once, few enough to stay in a cache between the two."""


def write(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    compression: Compression | None = None,
    level: int = zstd_frames.DEFAULT_LEVEL,
    progress: Progress | None = None,
) -> str:
    """Write a plan to `path` and return the file's root digest in hex.

    `path` appears, or is replaced, only once every byte is on the disk. With `compression` each
    segment that zstd makes smaller is stored as a frame; if none is, the file is the raw one,
    byte for byte. Raises UsageError for a plan that no reader would accept.
    """
    if compression is not None:
        with atomic_file(path) as file:
            root = _write(file, plan, level, progress)
            if root is None:
                # Begin again in the same temporary file, which will then hold the raw form.
                file.seek(0)
                file.truncate()
                root = _write(file, plan, None, progress)
    else:
        with atomic_file(path) as file:
            root = _write(file, plan, None, progress)
    assert root is not None, "a raw file is always written"  # noqa: S101
    return root


def write_checkpoint(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    *,
    compression: Compression | None = None,
    level: int = zstd_frames.DEFAULT_LEVEL,
    progress: Progress | None = None,
) -> str:
    """Write a checkpoint to `path`, as `write` does, and return the root digest in hex.

    Tensors are asked for one at a time, so a lazy checkpoint is never wholly in memory.
    """
    plan = plan_checkpoint(checkpoint)
    return write(path, plan, compression=compression, level=level, progress=progress)


def plan_checkpoint(checkpoint: Checkpoint) -> Plan:
    """The plan that writes a checkpoint as it is."""
    return Plan(
        tensors=tuple(_planned(name, checkpoint.tensors) for name in checkpoint.tensors),
        architecture=checkpoint.architecture,
        aliases=checkpoint.aliases,
        tokenizer=checkpoint.tokenizer,
        documents=checkpoint.documents,
        info=checkpoint.info,
    )


def _planned(name: str, tensors: Mapping[str, QuantizedTensor]) -> PlannedTensor:
    if isinstance(tensors, StoredTensors):
        # These know everything without touching, checking or decoding any plane.
        shape, layout = tensors.shape(name), tensors.layout(name)
        label = tensors.scheme(name)[0].name
    else:
        tensor = tensors[name]
        shape, layout, label = tensor.shape, tensor.layout, tensor.scheme.name
    return PlannedTensor(name, layout, shape, lambda: tensors[name].planes, label)


def _write(file: IO[bytes], plan: Plan, level: int | None, progress: Progress | None) -> str | None:
    """The root digest of what was written; None if a level was given and nothing shrank."""
    content = outline(plan, None if level is None else _compression_info(level))
    writer = _SegmentWriter(file, content.segments, level)
    writer.add(KIND_HEADER, memoryview(content.header))
    _write_payload(writer, content, progress)
    if level is not None and not writer.has_frames:
        return None
    return writer.finish()


def _write_payload(writer: "_SegmentWriter", content: Outline, progress: Progress | None) -> None:
    for document in content.documents:
        if document.data:
            writer.add(KIND_DOCUMENT, memoryview(document.data))
    for tensor in content.tensors:
        size = 0
        for data in _planes(tensor):
            start = 0
            for length in cut(len(data), compressed=writer.level is not None):
                writer.add(KIND_PLANE, data[start : start + length])
                start += length
            size += start
        if progress is not None:
            progress(tensor.name, size)


def _compression_info(level: int) -> dict[str, object]:
    return {"codec": "zstd", "level": level, "library": zstd_frames.library_version()}


def _planes(tensor: PlannedTensor) -> Iterator[memoryview]:
    """Each plane's bytes in the order of their names, checked against the plan."""
    planes = tensor.produce()
    if planes.keys() != tensor.layout.planes.keys():
        raise UsageError(
            f"writing {tensor.name!r}: planes {sorted(planes)} were produced, "
            f"expected {sorted(tensor.layout.planes)}"
        )
    for plane in sorted(planes):
        data = _flat(planes[plane], tensor.name, plane)
        expected = tensor.layout.plane_nbytes(plane, tensor.shape)
        if len(data) != expected:
            raise UsageError(
                f"writing {tensor.name!r}: plane {plane!r} has {len(data)} bytes, "
                f"expected {expected} for shape {list(tensor.shape)}"
            )
        _check(tensor, plane, data)
        yield data


def _check(tensor: PlannedTensor, plane: str, data: memoryview) -> None:
    """Refuse codes that no reader would accept."""
    try:
        found = np.frombuffer(data, np.uint8)
        check_codes(tensor.layout, plane, tensor.shape, found, f"plane {plane!r}")
    except FormatError as error:
        raise UsageError(f"writing {tensor.name!r}: {error}") from error


def _flat(plane: Buffer, tensor: str, name: str) -> memoryview:
    if isinstance(plane, np.ndarray):
        if plane.dtype != np.uint8:
            raise UsageError(f"writing {tensor!r}: plane {name!r} is {plane.dtype}, expected uint8")
        return np.ascontiguousarray(plane).reshape(-1).data
    return memoryview(plane).cast("B")


class _SegmentWriter:
    """Puts segments one after another and remembers their entries for the table."""

    def __init__(self, file: IO[bytes], segments: int, level: int | None) -> None:
        self.file = file
        self.level = level
        self.has_frames = False
        self.entries: list[Segment] = []
        self.position = PREAMBLE_BYTES + ENTRY_BYTES * segments
        file.write(bytes(self.position))

    def add(self, kind: int, data: memoryview) -> None:
        """Store the bytes of one segment, as a frame if that is wanted and smaller."""
        padding = align(self.position) - self.position
        self.file.write(bytes(padding))
        self.position += padding
        frame = self.frame(kind, data)
        digest, checksum = sha256(), 0
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            digest.update(chunk)
            if frame is None:
                checksum = zlib.crc32(chunk, checksum)
                self.file.write(chunk)
        if frame is not None:
            checksum = zlib.crc32(frame)
            self.file.write(frame)
        self.entries.append(
            Segment(
                offset=self.position,
                stored_length=len(data) if frame is None else len(frame),
                raw_length=len(data),
                crc32=checksum,
                codec=CODEC_RAW if frame is None else CODEC_ZSTD,
                kind=kind,
                flags=0,
                sha256=digest.digest(),
            )
        )
        self.position = self.entries[-1].end

    def frame(self, kind: int, data: memoryview) -> bytes | None:
        """The data as a zstd frame, None where they are to be stored raw."""
        if self.level is None or kind == KIND_HEADER:
            return None
        frame = zstd_frames.compress(data, self.level)
        if len(frame) >= len(data):
            return None
        self.has_frames = True
        return frame

    def finish(self) -> str:
        """Write the table, then the preamble, and return the root digest in hex."""
        table = pack_table(self.entries)
        preamble = Preamble.of(FEATURE_ZSTD if self.has_frames else 0, self.position, table)
        self.file.seek(PREAMBLE_BYTES)
        self.file.write(table)
        self.file.seek(0)
        self.file.write(preamble.pack())
        return preamble.root.hex()
