"""Reading `.rq`: a checkpoint whose tensors and documents are looked at only when asked for.

Stage S8 happens here: on first use of a segment its CRC-32, for a compressed one the frame's laws
and its decoding, and with `verify="full"` its SHA-256. Raw planes are views of the mapped file.
"""

import os
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import FormatError, RefquantError, UsageError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.rq import zstd_frames
from refquant.formats.rq.codes import check_codes
from refquant.formats.rq.contents import Contents, examine
from refquant.formats.rq.header import Header
from refquant.formats.rq.limits import MAX_NAME_BYTES
from refquant.formats.rq.plan import WRITER_KEYS
from refquant.formats.rq.records import DocumentRecord, TensorRecord
from refquant.formats.rq.segments import CODEC_RAW, CODEC_ZSTD, Segment
from refquant.formats.rq.source import Source, open_source
from refquant.layout import Layout
from refquant.schemes import scheme as find_scheme
from refquant.schemes import scheme_of_layout
from refquant.tensor import QuantizedTensor

__all__ = ["StoredTensors", "Verify", "read"]

Verify = Literal["fast", "full", "trust"]


def read(
    path: str | os.PathLike[str],
    *,
    verify: Verify = "fast",
    use_mmap: bool = True,
    budget: int | None = None,
) -> Checkpoint:
    """The checkpoint in an `.rq` file; the cost does not depend on the size of its tensors.

    `verify` is "fast" (structure now, a segment's CRC-32 when it is first touched), "full" (all
    of it now, and every SHA-256) or "trust" (no checksum beyond the header's); none of them
    affects memory safety. `use_mmap=False` reads with plain reads, for network file systems.
    `budget` bounds the decoded bytes of all compressed segments: unless given, the larger of
    4 times the file and 256 MiB.

    Raises FormatError for a damaged file, at once or when the damaged part is first touched,
    UnsupportedError for one that needs a feature this reader lacks.
    """
    if verify not in ("fast", "full", "trust"):
        raise UsageError(f"verify={verify!r}: expected 'fast', 'full' or 'trust'")
    source = open_source(path, use_mmap=use_mmap)
    contents = Contents(os.fspath(path), source.size)
    try:
        header = examine(source, contents, budget=budget)
        file = SegmentReader(source, contents, verify)
        checkpoint = _checkpoint(file, header)
        if verify == "full":
            file.check_all()
            for name in checkpoint.tensors:
                checkpoint.tensors[name]
        return checkpoint
    except FormatError as error:
        raise (error if error.path else error.at(contents.path)) from error.__cause__


def _checkpoint(file: "SegmentReader", header: Header) -> Checkpoint:
    documents = StoredDocuments(file, header)
    return Checkpoint(
        architecture=header.architecture,
        tensors=StoredTensors(file, header),
        aliases=header.aliases,
        tokenizer=_tokenizer(header, documents),
        documents=documents,
        info={key: value for key, value in header.info.items() if key not in WRITER_KEYS},
    )


def _tokenizer(header: Header, documents: "StoredDocuments") -> TokenizerSpec | None:
    record = header.tokenizer
    if record is None:
        return None
    return TokenizerSpec(
        kind=record.kind,
        json=lambda: documents.text(record.document),
        bos=record.bos,
        eos=record.eos,
        add_bos=record.add_bos,
    )


class SegmentReader:
    """The decoded bytes of segments, each verified the first time."""

    def __init__(self, source: Source, contents: Contents, verify: Verify) -> None:
        self.source = source
        self.path = contents.path
        self.segments = contents.segments
        self.verify = verify
        self._verified: set[int] = set()

    def check_all(self) -> None:
        """Stage S8 for every segment, in order."""
        for number in range(1, len(self.segments)):
            self.decoded(number, f"segment {number}")

    def decoded(self, number: int, where: str) -> bytes | memoryview:
        """The bytes of one segment after decoding; raw ones are a view of the source."""
        segment = self.segments[number]
        stored = self.source.read(segment.offset, segment.stored_length)
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

    def joined(self, numbers: tuple[int, ...], where: str) -> bytes | memoryview:
        """The decoded bytes of one plane."""
        if len(numbers) == 1:
            return self.decoded(numbers[0], where)
        segments = [self.segments[number] for number in numbers]
        if all(segment.codec == CODEC_RAW for segment in segments):
            for number in numbers:
                self.decoded(number, where)
            # Cuts fall on multiples of the alignment, so raw pieces follow without padding.
            size = sum(segment.raw_length for segment in segments)
            return self.source.read(segments[0].offset, size)
        return b"".join(self.decoded(number, where) for number in numbers)


class StoredTensors(Mapping[str, QuantizedTensor]):
    """The tensors of a file by name, built when asked for and not kept."""

    def __init__(self, file: SegmentReader, header: Header) -> None:
        self._file = file
        self._records = {record.name: record for record in header.tensors}
        self._layouts = header.layouts
        self._labels = header.labels
        self._schemes: dict[tuple[int, int], tuple[Scheme, int]] = {}
        self._checked: set[str] = set()

    def __getitem__(self, name: str) -> QuantizedTensor:
        record = self._records[name]
        planes = {plane: self._plane(record, plane) for plane in record.planes}
        self._check_codes(record, planes)
        scheme, axis = self.scheme(name)
        return QuantizedTensor.from_planes(scheme, record.shape, planes, axis)

    def _check_codes(self, record: TensorRecord, planes: Mapping[str, NDArray[np.uint8]]) -> None:
        """The last of S8, the first time: spare bits and digits, where the layout has any."""
        if record.name in self._checked or self._file.verify == "trust":
            return
        layout = self._layouts[record.scheme]
        try:
            for plane, data in planes.items():
                where = f"{record.name!r}, plane {plane!r}"
                check_codes(layout, plane, record.shape, data, where)
        except FormatError as error:
            raise error.at(self._file.path) from None
        self._checked.add(record.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without touching its bytes."""
        return self._records[name].shape

    def layout(self, name: str) -> Layout:
        """A tensor's layout, without touching its bytes."""
        return self._layouts[self._records[name].scheme]

    def scheme(self, name: str) -> tuple[Scheme, int]:
        """A tensor's scheme and the axis its groups run along, without touching its bytes."""
        record = self._records[name]
        key = record.scheme, len(record.shape)
        if key not in self._schemes:
            layout, label = self._layouts[record.scheme], self._labels[record.scheme]
            self._schemes[key] = _scheme_and_axis(layout, label, len(record.shape))
        return self._schemes[key]

    def _plane(self, record: TensorRecord, plane: str) -> NDArray[np.uint8]:
        data = self._file.joined(record.planes[plane], f"{record.name!r}, plane {plane!r}")
        return np.frombuffer(data, np.uint8)


def _scheme_and_axis(layout: Layout, label: str, rank: int) -> tuple[Scheme, int]:
    """The scheme with this layout, if need be turned from the last axis to another one.

    The label only says which name to try: a name whose layout differs is not believed.
    """
    found = scheme_of_layout(layout)
    if not 0 < len(label) <= MAX_NAME_BYTES:
        return found, -1
    try:
        named = find_scheme(label)
        for axis in range(rank - 1, -1, -1):
            if named.layout.along(axis, rank) == layout:
                return named, axis
    except RefquantError:
        # A label that names no scheme of ours, or one that cannot be turned, says nothing.
        pass
    return found, -1


class StoredDocuments(Mapping[str, Document]):
    """The documents of a file by name, read when asked for; the tokenizer's is not among them."""

    def __init__(self, file: SegmentReader, header: Header) -> None:
        self._file = file
        self._all = {record.name: record for record in header.documents}
        hidden = header.tokenizer.document if header.tokenizer is not None else None
        self._records: dict[str, DocumentRecord] = {
            name: record for name, record in self._all.items() if name != hidden
        }

    def __getitem__(self, name: str) -> Document:
        return Document(name, self._records[name].media, self.text(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def text(self, name: str) -> bytes:
        """The bytes of any document of the file, the tokenizer's included."""
        segments = self._all[name].segments
        return b"".join(self._file.decoded(number, f"document {name!r}") for number in segments)
