"""Reading `.rq`: a checkpoint whose tensors and documents are looked at only when asked for.

Raw planes are views of the mapped file. A segment is verified when it is first used, and the codes
of a tensor when all of its planes are there.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import FormatError, RefquantError, UsageError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.rq.contents import Contents
from refquant.formats.rq.header import WRITER_KEYS, Header
from refquant.formats.rq.limits import MAX_NAME_BYTES
from refquant.formats.rq.records import DocumentRecord, TensorRecord
from refquant.formats.rq.segment_reader import Verify
from refquant.formats.rq.source import Place, open_source
from refquant.formats.rq.stored_codes import check_codes, checked_codes, has_laws
from refquant.formats.rq.stored_files import StoredFiles, open_file
from refquant.schemes import scheme as find_scheme
from refquant.schemes import scheme_of_layout, scheme_of_stored
from refquant.schemes.storage import AnyLayout, StoredLayout
from refquant.tensor import QuantizedTensor

__all__ = ["StoredDocuments", "StoredTensors", "Verify", "check_tensors", "read"]


def read(
    place: Place,
    *,
    verify: Verify = "fast",
    use_mmap: bool = True,
    budget: int | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Checkpoint:
    """The checkpoint in an `.rq` file; the cost does not depend on the size of its tensors.

    `place` is a path, the URL of a server that gives ranges, or any object with `name`, `size`,
    `read_at(offset, length)` and `sibling(name)`. The shards of a model lie beside its root, and
    each is opened when a tensor of it is first asked for.

    `verify` is "fast" (structure now; on first touch of a segment its padding and CRC-32),
    "full" (all of it now, shards too, and every SHA-256) or "trust" (no checksum beyond the
    header's); none of them affects memory safety. `use_mmap=False` reads with plain reads, for
    network file systems. `budget` bounds the decoded bytes of all compressed segments of a file:
    unless given, the larger of 4 times the file and 256 MiB. With "full" `progress` is called
    with each segment's name and bytes once it has been checked.

    Raises FormatError for a damaged file, at once or when the damaged part is first touched,
    UnsupportedError for one that needs a feature this reader lacks, or that is a shard alone.
    """
    if verify not in ("fast", "full", "trust"):
        raise UsageError(f"verify={verify!r}: expected 'fast', 'full' or 'trust'")
    source = open_source(place, use_mmap=use_mmap)
    contents = Contents(source.name, source.size)
    try:
        root, header = open_file(source, contents, verify, budget, as_shard=False)
        files = StoredFiles(root, header, budget)
        checkpoint = _checkpoint(files, header)
        if verify == "full":
            files.check_all(progress)
            check_tensors(checkpoint)
        return checkpoint
    except FormatError as error:
        raise (error if error.path else error.at(contents.path)) from error.__cause__


def check_tensors(checkpoint: Checkpoint) -> None:
    """The last of S8, spare bits and digits, for every tensor of a file that has such."""
    if isinstance(checkpoint.tensors, StoredTensors):
        for name in checkpoint.tensors:
            checkpoint.tensors.check(name)


def _checkpoint(files: StoredFiles, header: Header) -> Checkpoint:
    documents = StoredDocuments(files, header)
    return Checkpoint(
        architecture=header.architecture,
        tensors=StoredTensors(files, header),
        aliases=header.aliases,
        tokenizer=_tokenizer(header, documents),
        documents=documents,
        info={key: value for key, value in header.info.items() if key not in WRITER_KEYS},
        extensions=header.extensions,
        chat=header.chat,
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


class StoredTensors(Mapping[str, QuantizedTensor]):
    """The tensors of a file by name, built when asked for and not kept."""

    def __init__(self, files: StoredFiles, header: Header) -> None:
        self._files = files
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
        if record.name in self._checked or self._files.verify == "trust":
            return
        layout = self._layouts[record.scheme]
        try:
            for plane, data in planes.items():
                where = f"{record.name!r}, plane {plane!r}"
                check_codes(layout, plane, record.shape, data, where)
        except FormatError as error:
            raise error.at(self._files.path) from None
        self._checked.add(record.name)

    def check(self, name: str) -> None:
        """Look at a tensor's codes without ever having more than a segment in memory."""
        record = self._records[name]
        for plane in record.planes:
            if has_laws(self._layouts[record.scheme], plane, record.shape):
                for _ in self.stream(name, plane):
                    pass
        self._checked.add(name)

    def stream(self, name: str, plane: str) -> Iterator[bytes | memoryview]:
        """A plane's bytes in pieces, each at most one segment, verified as they go by."""
        record = self._records[name]
        where = f"{name!r}, plane {plane!r}"
        pieces = self._files.stream(record.planes[plane], where)
        if name in self._checked or self._files.verify == "trust":
            yield from pieces
            return
        try:
            layout = self._layouts[record.scheme]
            yield from checked_codes(layout, plane, record.shape, pieces, where)
        except FormatError as error:
            raise (error if error.path else error.at(self._files.path)) from error.__cause__

    def digest(self, name: str, plane: str) -> bytes:
        """The SHA-256 of a plane's decoded bytes; known at once after a check of everything."""
        known = self._files.digest(self._records[name].planes[plane])
        if known is not None:
            return known
        digest = sha256()
        for piece in self.stream(name, plane):
            digest.update(piece)
        return digest.digest()

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without touching its bytes."""
        return self._records[name].shape

    def layout(self, name: str) -> AnyLayout:
        """A tensor's layout, with operators if any, without touching its bytes."""
        return self._layouts[self._records[name].scheme]

    def label(self, name: str) -> str:
        """What the file calls a tensor's scheme, for display; perhaps nothing."""
        return self._labels[self._records[name].scheme]

    def scheme(self, name: str) -> tuple[Scheme, int]:
        """A tensor's scheme and the axis its groups run along, without touching its bytes."""
        record = self._records[name]
        key = record.scheme, len(record.shape)
        if key not in self._schemes:
            layout, label = self._layouts[record.scheme], self._labels[record.scheme]
            self._schemes[key] = _scheme_and_axis(layout, label, len(record.shape))
        return self._schemes[key]

    def _plane(self, record: TensorRecord, plane: str) -> NDArray[np.uint8]:
        data = self._files.joined(record.planes[plane], f"{record.name!r}, plane {plane!r}")
        return np.frombuffer(data, np.uint8)


def _scheme_and_axis(layout: AnyLayout, label: str, rank: int) -> tuple[Scheme, int]:
    """The scheme with this layout, if need be turned from the last axis to another one.

    The label only says which name to try: a name whose layout differs is not believed.
    """
    if isinstance(layout, StoredLayout):
        return scheme_of_stored(layout, label if len(label) <= MAX_NAME_BYTES else ""), -1
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

    def __init__(self, files: StoredFiles, header: Header) -> None:
        # Documents stay in the root, so that it can be understood alone.
        self._file = files.root
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

    def everything(self) -> Iterator[Document]:
        """All documents of the file in their order, the tokenizer's included."""
        for name, record in self._all.items():
            yield Document(name, record.media, self.text(name))

    def text(self, name: str) -> bytes:
        """The bytes of any document of the file, the tokenizer's included."""
        segments = self._all[name].segments
        return b"".join(self._file.decoded(number, f"document {name!r}") for number in segments)
