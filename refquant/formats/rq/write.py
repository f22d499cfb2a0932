"""Writing `.rq`: one pass, memory bounded by what a plan produces at once, all or nothing.

The same plan always gives the same bytes: nothing of the machine, the time or the order of
insertion goes in. A model that is split goes into shards first and into the root last.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal

from refquant.formats.checkpoint import Checkpoint, Document
from refquant.formats.rq import zstd_frames
from refquant.formats.rq.atomic import atomic_file
from refquant.formats.rq.plan import (
    SHARD_HEADER,
    Placed,
    Plan,
    PlannedTensor,
    cut,
    outline,
)
from refquant.formats.rq.planes import produced_planes
from refquant.formats.rq.preamble import FEATURE_SHARDS
from refquant.formats.rq.read import StoredTensors
from refquant.formats.rq.records import Pieces
from refquant.formats.rq.segment_writer import SegmentWriter
from refquant.formats.rq.segments import KIND_DOCUMENT, KIND_HEADER, KIND_PLANE
from refquant.formats.rq.shard_set import ShardSet, listed_shards, shard_set
from refquant.formats.rq.shards import ShardRecord
from refquant.formats.rq.split import check_stem, groups_of, shard_name
from refquant.tensor import QuantizedTensor

__all__ = [
    "Compression",
    "Progress",
    "add_documents",
    "add_tensor",
    "begun_again",
    "compression_info",
    "plan_checkpoint",
    "write",
    "write_checkpoint",
    "write_root",
    "write_single",
]

Compression = Literal["zstd"]
Progress = Callable[[str, int], None]
"""Called with each tensor's name and byte count once it is written."""


def write(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    compression: Compression | None = None,
    level: int = zstd_frames.DEFAULT_LEVEL,
    shard_size: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Write a plan to `path` and return the file's root digest in hex.

    `path` appears, or is replaced, only once every byte is on the disk. With `compression` each
    segment that zstd makes smaller is stored as a frame; if none is, the file is the raw one,
    byte for byte. Raises UsageError for a plan that no reader would accept.

    A model whose raw file would be longer than `shard_size` bytes is split between tensors into
    shards no longer than that, except for a tensor that is longer itself. They appear beside
    `path` under names that begin like its own and end in a part of their digest, so none replaces
    another's shard; those of a file that is replaced are removed after it.
    """
    chosen = None if compression is None else level
    groups = None if shard_size is None else groups_of(plan, shard_size)
    if groups is not None or listed_shards(Path(path)):
        return _write_set(Path(path), plan, groups or [], chosen, progress)
    with atomic_file(path) as file:
        root = begun_again(file, chosen, lambda level: _write(file, plan, level, progress))
    return root.hex()


def write_checkpoint(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    *,
    compression: Compression | None = None,
    level: int = zstd_frames.DEFAULT_LEVEL,
    shard_size: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Write a checkpoint to `path`, as `write` does, and return the root digest in hex.

    Tensors are asked for one at a time, so a lazy checkpoint is never wholly in memory; of one
    that was read from `.rq` there is never more than a segment.
    """
    plan = plan_checkpoint(checkpoint)
    return write(
        path,
        plan,
        compression=compression,
        level=level,
        shard_size=shard_size,
        progress=progress,
    )


def plan_checkpoint(checkpoint: Checkpoint) -> Plan:
    """The plan that writes a checkpoint as it is."""
    return Plan(
        tensors=tuple(_planned(name, checkpoint.tensors) for name in checkpoint.tensors),
        architecture=checkpoint.architecture,
        aliases=checkpoint.aliases,
        tokenizer=checkpoint.tokenizer,
        documents=checkpoint.documents,
        info=checkpoint.info,
        extensions=checkpoint.extensions,
        chat=checkpoint.chat,
    )


def _planned(name: str, tensors: Mapping[str, QuantizedTensor]) -> PlannedTensor:
    if not isinstance(tensors, StoredTensors):
        tensor = tensors[name]
        return PlannedTensor(
            name,
            tensor.stored_layout,
            tensor.shape,
            lambda: tensors[name].planes,
            tensor.scheme.name,
        )
    # These know everything without touching, checking or decoding any plane.
    layout = tensors.layout(name)
    return PlannedTensor(
        name,
        layout,
        tensors.shape(name),
        lambda: {plane: tensors.stream(name, plane) for plane in layout.planes},
        tensors.label(name),
    )


def begun_again(
    file: IO[bytes], level: int | None, attempt: Callable[[int | None], bytes | None]
) -> bytes:
    """The root digest of what was written, in the raw form if nothing could be compressed."""
    root = attempt(level)
    if root is None:
        # Begin again in the same temporary file, which will then hold the raw form.
        file.seek(0)
        file.truncate()
        root = attempt(None)
    if root is None:
        raise ValueError("a raw file is always written")
    return root


def _write(
    file: IO[bytes], plan: Plan, level: int | None, progress: Progress | None
) -> bytes | None:
    """The root digest of what was written; None if a level was given and nothing shrank."""
    content = outline(plan, None if level is None else compression_info(level))
    writer = SegmentWriter(file, content.segments, level, content.features)
    writer.add(KIND_HEADER, memoryview(content.header))
    add_documents(writer, content.documents)
    for tensor in content.tensors:
        add_tensor(writer, tensor, progress)
    return _finished(writer, level)


def _finished(writer: SegmentWriter, level: int | None) -> bytes | None:
    return None if level is not None and not writer.has_frames else writer.finish()


def add_documents(writer: SegmentWriter, documents: Iterable[Document]) -> None:
    """Write the documents that are not empty."""
    for document in documents:
        if document.data:
            writer.add(KIND_DOCUMENT, memoryview(document.data))


def add_tensor(
    writer: SegmentWriter, tensor: PlannedTensor, progress: Progress | None
) -> dict[str, list[int]]:
    """Write a tensor's planes; the segments that each is in."""
    found, total = {}, 0
    for plane, size, pieces in produced_planes(tensor):
        found[plane] = writer.add_plane(KIND_PLANE, size, pieces)
        total += size
    if progress is not None:
        progress(tensor.name, total)
    return found


def compression_info(level: int) -> dict[str, object]:
    """What `info` says of a file whose segments are zstd frames where that makes them smaller."""
    return {"codec": "zstd", "level": level, "library": zstd_frames.library_version()}


def _write_set(
    path: Path,
    plan: Plan,
    groups: list[tuple[PlannedTensor, ...]],
    level: int | None,
    progress: Progress | None,
) -> str:
    """Shards first, the root last; the root digest in hex.

    Without groups a single file is written, which replaces a root and its shards.
    """
    if groups:
        check_stem(path)
    # A mistake in the plan shows before the work, not after it.
    outline(plan, None)
    with shard_set(path) as files:
        if not groups:
            return write_single(files, plan, level, progress).hex()
        shards: list[ShardRecord] = []
        planes: dict[tuple[str, str], Pieces] = {}
        has_frames = False
        for number, group in enumerate(groups, 1):
            shard = _ShardWriter(number, len(groups), group, level, progress)
            shards.append(shard.write(path, files))
            planes |= shard.planes
            has_frames |= shard.has_frames
        root = write_root(files, plan, Placed(shards, planes), level, has_frames=has_frames)
    return root.hex()


def write_single(
    files: ShardSet, plan: Plan, level: int | None, progress: Progress | None
) -> bytes:
    """Write one file in place of a set, and return its root digest."""
    with files.root() as file:
        root = begun_again(file, level, lambda level: _write(file, plan, level, progress))
        files.commit(root)
    return root


def write_root(
    files: ShardSet, plan: Plan, placed: Placed, level: int | None, *, has_frames: bool
) -> bytes:
    """Write the root of shards that are in their places, and return its digest."""
    with files.root() as file:

        def attempt(level: int | None) -> bytes | None:
            content = outline(plan, None if level is None else compression_info(level), placed)
            writer = SegmentWriter(file, content.segments, level, content.features)
            writer.add(KIND_HEADER, memoryview(content.header))
            add_documents(writer, content.documents)
            # What `info` says about compression is of the whole set, not of the root alone.
            return writer.finish() if has_frames else _finished(writer, level)

        root = begun_again(file, level, attempt)
        files.commit(root)
        return root


class _ShardWriter:
    """Writes one shard, and remembers what is where in it."""

    def __init__(
        self,
        number: int,
        count: int,
        tensors: tuple[PlannedTensor, ...],
        level: int | None,
        progress: Progress | None,
    ) -> None:
        self.number = number
        self.count = count
        self.tensors = tensors
        self.level = level
        self.progress = progress
        self.planes: dict[tuple[str, str], Pieces] = {}
        self.has_frames = False

    def write(self, path: Path, files: ShardSet) -> ShardRecord:
        """The shard's record, once the shard is in its place beside `path`."""
        with files.shard() as (file, place):
            root = begun_again(file, self.level, lambda level: self._attempt(file, level))
            length = file.seek(0, os.SEEK_END)
            record = ShardRecord(shard_name(path, self.number, self.count, root), length, root)
            place(record.name)
        return record

    def _attempt(self, file: IO[bytes], level: int | None) -> bytes | None:
        writer = SegmentWriter(file, 1 + sum(self._segments(level)), level, FEATURE_SHARDS)
        writer.add(KIND_HEADER, memoryview(SHARD_HEADER))
        for tensor in self.tensors:
            for plane, numbers in add_tensor(writer, tensor, self.progress).items():
                self.planes[tensor.name, plane] = Pieces(self.number, tuple(numbers))
        self.has_frames = writer.has_frames
        return _finished(writer, level)

    def _segments(self, level: int | None) -> Iterator[int]:
        for tensor in self.tensors:
            for plane in tensor.layout.planes:
                size = tensor.layout.plane_nbytes(plane, tensor.shape)
                yield len(cut(size, compressed=level is not None))
