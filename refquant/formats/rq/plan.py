"""What is to be written, known before any plane is computed: names, shapes, layouts, byte counts.

The header holds no offset, length or checksum, so it can be written first, and the planes can
then be produced and forgotten one tensor at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refquant import mp1
from refquant.architectures import Architecture
from refquant.errors import SchemeError, UsageError
from refquant.formats.chat import ChatTurns
from refquant.formats.checkpoint import Document, TokenizerSpec
from refquant.formats.rq.chat_header import describe_chat
from refquant.formats.rq.header import WRITER_KEYS, parse_header
from refquant.formats.rq.limits import ZSTD_CUT
from refquant.formats.rq.preamble import FEATURE_OPERATORS, FEATURE_SHARDS
from refquant.formats.rq.records import Pieces
from refquant.formats.rq.segments import (
    CODEC_RAW,
    CODEC_ZSTD,
    KIND_DOCUMENT,
    KIND_HEADER,
    KIND_PLANE,
    Segment,
)
from refquant.formats.rq.shards import ShardRecord
from refquant.schemes.storage import AnyLayout, StoredLayout

__all__ = [
    "SHARD_HEADER",
    "TOKENIZER_DOCUMENT",
    "Outline",
    "Placed",
    "Plan",
    "PlannedTensor",
    "cut",
    "outline",
]

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]

SHARD_HEADER = mp1.encode({"core": {"role": "shard"}, "info": {}})
"""All that a shard says of itself; what is in it is said by its root."""

TOKENIZER_DOCUMENT = "tokenizer.json"
"""Name of the document that holds the tokenizer; its SHA-256 is that of the original file."""


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to be written.

    `produce` is called when its turn comes (twice if the file has to be begun again) and gives
    each plane's bytes, `layout.plane_nbytes(plane, shape)` of them, at once or in pieces of any
    length. `label` is the scheme's name for display.
    """

    name: str
    layout: AnyLayout
    shape: tuple[int, ...]
    produce: Callable[[], Mapping[str, Buffer | Iterable[Buffer]]]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole file to be written. The order of its parts does not matter."""

    tensors: Sequence[PlannedTensor]
    architecture: Architecture | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    tokenizer: TokenizerSpec | None = None
    documents: Mapping[str, Document] = field(default_factory=dict)
    info: Mapping[str, object] = field(default_factory=dict)
    extensions: Mapping[str, object] = field(default_factory=dict)
    chat: ChatTurns | None = None


@dataclass(frozen=True, slots=True)
class Outline:
    """The header's bytes, and what follows it in the order of the file.

    `segments` counts all segments, the header's included; `features` are the preamble's bits but
    for zstd's.
    """

    header: bytes
    documents: tuple[Document, ...]
    tensors: tuple[PlannedTensor, ...]
    segments: int
    features: int


def cut(size: int, *, compressed: bool) -> list[int]:
    """Decoded lengths of the segments that `size` bytes are stored in."""
    if not compressed:
        return [size] if size else []
    return [min(ZSTD_CUT, size - start) for start in range(0, size, ZSTD_CUT)]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where planes went that are in shards already: by tensor and plane."""

    shards: Sequence[ShardRecord]
    planes: Mapping[tuple[str, str], Pieces]


def outline(
    plan: Plan, compression: Mapping[str, object] | None, placed: Placed | None = None
) -> Outline:
    """The header of a plan and the canonical order of its parts.

    `compression` is what `info` says about it, None for a raw file. With `placed` the header is
    that of a root whose planes are in shards. Raises UsageError if the reader would refuse the
    result.
    """
    documents = _documents(plan)
    tensors = tuple(sorted(plan.tensors, key=lambda tensor: tensor.name))
    builder = _Builder(compressed=compression is not None, placed=placed)
    try:
        content = mp1.normalized(builder.header(plan, documents, tensors, compression))
        # What is refused here would be refused by every reader.
        features = _features(tensors, placed)
        parse_header(content, builder.segments, features=features)
        header = mp1.pack(content)
    except (ValueError, SchemeError) as error:
        raise UsageError(f"this cannot be written as .rq: {error}") from error
    return Outline(header, documents, tensors, len(builder.segments), features)


def _features(tensors: Sequence[PlannedTensor], placed: Placed | None) -> int:
    has_operators = any(isinstance(tensor.layout, StoredLayout) for tensor in tensors)
    return FEATURE_OPERATORS * has_operators | FEATURE_SHARDS * (placed is not None)


def _documents(plan: Plan) -> tuple[Document, ...]:
    """All documents by name, the tokenizer's among them."""
    documents = {document.name: document for document in plan.documents.values()}
    if plan.tokenizer is not None:
        text = Document(TOKENIZER_DOCUMENT, "application/json", plan.tokenizer.json)
        if documents.get(TOKENIZER_DOCUMENT, text).data != text.data:
            raise UsageError(f"the document {TOKENIZER_DOCUMENT!r} is not the tokenizer's")
        documents[TOKENIZER_DOCUMENT] = text
    return tuple(documents[name] for name in sorted(documents))


class _Builder:
    """Numbers segments while the header is built; `segments` knows their kinds and lengths."""

    def __init__(self, *, compressed: bool, placed: Placed | None) -> None:
        self.compressed = compressed
        self.placed = placed
        self.codec = CODEC_ZSTD if compressed else CODEC_RAW
        self.segments = [Segment(0, 1, 1, 0, CODEC_RAW, KIND_HEADER, 0, b"")]

    def take(self, kind: int, size: int) -> list[int]:
        first = len(self.segments)
        pieces = cut(size, compressed=self.compressed)
        for length in pieces:
            self.segments.append(Segment(0, length, length, 0, self.codec, kind, 0, b""))
        return list(range(first, len(self.segments)))

    def header(
        self,
        plan: Plan,
        documents: Sequence[Document],
        tensors: Sequence[PlannedTensor],
        compression: Mapping[str, object] | None,
    ) -> dict[str, object]:
        docs = [self.document(document) for document in documents]
        schemes, labels = _schemes(tensors)
        numbers = {digest: number for number, digest in enumerate(schemes)}
        core: dict[str, object] = {
            "docs": docs,
            "schemes": [layout.describe() for layout in schemes.values()],
            "tensors": [self.tensor(t, numbers[t.layout.digest]) for t in tensors],
        }
        if plan.aliases:
            core["alias"] = [{"name": n, "of": plan.aliases[n]} for n in sorted(plan.aliases)]
        if plan.architecture is not None:
            architecture = plan.architecture
            core["arch"] = {"family": architecture.family, "fields": dict(architecture.fields)}
        if plan.chat is not None:
            core["chat"] = describe_chat(plan.chat)
        if plan.tokenizer is not None:
            core["tokenizer"] = _tokenizer(plan.tokenizer)
        if self.placed is not None:
            core["shards"] = [
                {"file_len": shard.file_length, "name": shard.name, "root": shard.root}
                for shard in self.placed.shards
            ]
        info = {key: plan.info[key] for key in plan.info if key not in WRITER_KEYS}
        if any(labels):
            info["labels"] = labels
        if compression is not None:
            info["compression"] = dict(compression)
        header: dict[str, object] = {"core": core, "info": info}
        return header | {"ext": dict(plan.extensions)} if plan.extensions else header

    def document(self, document: Document) -> dict[str, object]:
        segments = self.take(KIND_DOCUMENT, len(document.data))
        listed = segments if self.placed is None else [[0, number] for number in segments]
        return {"media": document.media, "name": document.name, "seg": listed}

    def plane(self, tensor: PlannedTensor, plane: str) -> list[int] | list[list[int]]:
        if self.placed is None:
            return self.take(KIND_PLANE, tensor.layout.plane_nbytes(plane, tensor.shape))
        pieces = self.placed.planes[tensor.name, plane]
        return [[pieces.file, number] for number in pieces.numbers]

    def tensor(self, tensor: PlannedTensor, scheme: int) -> dict[str, object]:
        planes = {plane: self.plane(tensor, plane) for plane in sorted(tensor.layout.planes)}
        shape = list(map(int, tensor.shape))
        return {"name": tensor.name, "planes": planes, "scheme": scheme, "shape": shape}


def _schemes(tensors: Sequence[PlannedTensor]) -> tuple[dict[str, AnyLayout], list[str]]:
    """Layouts by digest in order of first use, and a label for each."""
    layouts: dict[str, AnyLayout] = {}
    labels: list[str] = []
    for tensor in tensors:
        if tensor.layout.digest not in layouts:
            layouts[tensor.layout.digest] = tensor.layout
            labels.append(tensor.label)
    return layouts, labels


def _tokenizer(tokenizer: TokenizerSpec) -> dict[str, object]:
    record: dict[str, object] = {
        "add_bos": tokenizer.add_bos,
        "doc": TOKENIZER_DOCUMENT,
        "eos": sorted(set(tokenizer.eos)),
        "kind": tokenizer.kind,
    }
    return record if tokenizer.bos is None else record | {"bos": tokenizer.bos}
