"""Metadata of GGUF as bytes: pairs of a key and a typed value, and files that hold nothing else.

A GGUF file without tensors is the document `metadata.gguf`, in which a checkpoint keeps what its
GGUF file said. Its first two pairs, `refquant.tensors` and `refquant.types`, list the file's
tensors in their order, which `.rq` does not keep, and ggml's numbers of their types; every other
pair is as it was, byte for byte.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.formats.gguf_file import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    GgufFile,
    read_gguf_bytes,
)
from refquant.formats.gguf_types import GGML_TYPES

__all__ = [
    "METADATA_DOCUMENT",
    "METADATA_MEDIA",
    "Metadata",
    "kept_metadata",
    "made_metadata",
    "pair",
    "read_metadata",
]

METADATA_DOCUMENT: Final = "metadata.gguf"
METADATA_MEDIA: Final = "application/x-gguf-metadata"
ORDER_KEY: Final = "refquant.tensors"
TYPES_KEY: Final = "refquant.types"

MAGIC: Final = b"GGUF"
HEADER: Final = struct.Struct("<4sIQQ")
VERSION: Final = 3

# The format's numbers of value types; an array states the type of its elements behind its own.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9

Value = bool | int | float | str | Sequence[str] | NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a GGUF file says before its tensors.

    `pairs` are `count` pairs as bytes, `types` the tensors that the file is known to have had, in
    their order, each with ggml's number of its type; `file` is the same as it reads.
    """

    version: int
    count: int
    pairs: bytes
    types: Mapping[str, int]
    file: GgufFile

    @property
    def alignment(self) -> int:
        """What the offsets of tensors are multiples of."""
        return int(str(self.file.metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)))

    def replaced(self, key: str, value: int) -> "Metadata":
        """The same with another number under a key that holds a whole number."""
        old, new = pair(key, int(str(self.file.metadata[key]))), pair(key, value)
        return replace(self, pairs=self.pairs.replace(old, new, 1))


def pair(key: str, value: Value) -> bytes:
    """One pair: whole numbers as u32, others as f32, lists of text as arrays of strings."""
    return _string(key) + _typed(value)


def kept_metadata(file: GgufFile) -> bytes:
    """The document that keeps a file's pairs and the order of its tensors."""
    count = HEADER.unpack_from(file.data.data)[3]
    pairs = file.data[HEADER.size : file.metadata_end].tobytes()
    own = _own({name: _number(tensor.type_name) for name, tensor in file.tensors.items()})
    return HEADER.pack(MAGIC, file.version, 0, count + 2) + own + pairs


def made_metadata(pairs: Iterable[bytes]) -> bytes:
    """A document of these pairs."""
    listed = list(pairs)
    return HEADER.pack(MAGIC, VERSION, 0, len(listed)) + b"".join(listed)


def read_metadata(document: bytes) -> Metadata:
    """What a document says; FormatError E_GGUF_* for damage, or tensors that are not there."""
    file = read_gguf_bytes(document, METADATA_DOCUMENT)
    if file.tensors:
        raise FormatError("E_GGUF_COUNT", "describes tensors", where=METADATA_DOCUMENT)
    count = HEADER.unpack_from(document)[3]
    pairs = document[HEADER.size : file.metadata_end]
    names, numbers = (file.metadata.get(key, ()) for key in (ORDER_KEY, TYPES_KEY))
    types: dict[str, int] = {}
    if isinstance(names, Sequence) and isinstance(numbers, Sequence):
        types = {
            str(name): number
            for name, number in zip(names, numbers, strict=False)
            if isinstance(number, int)
        }
    own = _own(types)
    if pairs.startswith(own):
        return Metadata(file.version, count - 2, pairs[len(own) :], types, file)
    return Metadata(file.version, count, pairs, {}, file)


def _own(types: Mapping[str, int]) -> bytes:
    numbers = np.array(list(types.values()), np.int32)
    return pair(ORDER_KEY, list(types)) + pair(TYPES_KEY, numbers)


def _number(type_name: str) -> int:
    return next(number for number, kind in GGML_TYPES.items() if kind.name == type_name)


def _string(text: str) -> bytes:
    spelled = text.encode()
    return struct.pack("<Q", len(spelled)) + spelled


def _typed(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, np.ndarray):
        kind = FLOAT32 if value.dtype == np.float32 else INT32
        raw = value.astype("<f4" if kind == FLOAT32 else "<i4").tobytes()
        return struct.pack("<IIQ", ARRAY, kind, value.size) + raw
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
