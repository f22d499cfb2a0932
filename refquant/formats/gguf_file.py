"""The GGUF container, versions 2 and 3: header, metadata, tensor descriptions, aligned data.

    magic "GGUF" | version u32 | tensor count u64 | pair count u64
    pairs:   key string | value type u32 | value
    tensors: name string | dimension count u32 | dimensions u64... | type u32 | offset u64
    padding to `general.alignment` (32 if the key is absent) | data, each offset aligned

All numbers are little-endian; dimensions stand innermost first, so a shape is reversed on the way
in. Every number is compared with a bound before anything is built from it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.gguf_metadata import Cursor, GgufValue, read_value
from refquant.formats.gguf_types import GGML_TYPES, REMOVED_GGML_TYPES, GgmlType
from refquant.formats.mapped import map_file, shown

__all__ = [
    "ALIGNMENT_KEY",
    "DEFAULT_ALIGNMENT",
    "GgufFile",
    "GgufTensor",
    "read_gguf",
    "read_gguf_bytes",
]

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32
ALIGNMENT_KEY: Final = "general.alignment"
UINT32: Final = 4

# The format's document bounds keys at 65535 bytes and dimensions at 4. Its name bound of 64 is
# broken by real files, and the others have none; these are far above any model seen.
MAX_KEY_BYTES: Final = 65535
MAX_NAME_BYTES: Final = 255
MAX_DIMENSIONS: Final = 4
MAX_PAIRS: Final = 1 << 16
MAX_TENSORS: Final = 1 << 18
MAX_ELEMENTS: Final = 1 << 48
MAX_ALIGNMENT: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class GgufTensor:
    """One tensor as the file describes it.

    `shape` is in NumPy's order, outermost axis first. `data` is a view of the file's bytes from
    byte `offset`, untouched.
    """

    name: str
    ggml_type: GgmlType
    shape: tuple[int, ...]
    offset: int
    data: NDArray[np.uint8] = field(repr=False)

    @property
    def type_name(self) -> str:
        """The name ggml gives the type: `Q4_1`."""
        return self.ggml_type.name


@dataclass(frozen=True, slots=True, eq=False)
class GgufFile:
    """A GGUF file whose every bound has been checked; metadata and tensors keep the file's order.

    Arrays in `metadata` are sequences that decode their elements when asked; the pairs stand in
    `data` from byte 24 to `metadata_end`.
    """

    path: str
    version: int
    alignment: int
    metadata: Mapping[str, GgufValue] = field(repr=False)
    tensors: Mapping[str, GgufTensor] = field(repr=False)
    data: NDArray[np.uint8] = field(repr=False)
    metadata_end: int


def read_gguf_bytes(content: bytes, name: str) -> GgufFile:
    """The same for a file that is in memory; `name` is for errors."""
    try:
        return _read(np.frombuffer(content, np.uint8), name)
    except FormatError as error:
        raise error.at(name) from error.__cause__


def read_gguf(path: str | os.PathLike[str], *, use_mmap: bool = True) -> GgufFile:
    """Read everything about a GGUF file except the weights, which stay views of its bytes.

    FormatError (E_GGUF_*) for damage; UnsupportedError for a big-endian file, an unknown version
    or an unknown tensor type.
    """
    data = map_file(path, use_mmap=use_mmap)
    try:
        return _read(data, os.fspath(path))
    except FormatError as error:
        raise error.at(os.fspath(path)) from error.__cause__


def _read(data: NDArray[np.uint8], path: str) -> GgufFile:
    cursor = Cursor(data)
    version = _read_version(cursor)
    tensor_count = cursor.count("tensors", 24)
    pair_count = cursor.count("metadata pairs", 13)
    if tensor_count > MAX_TENSORS or pair_count > MAX_PAIRS:
        raise cursor.error(
            "E_GGUF_COUNT",
            f"the file states {tensor_count} tensors and {pair_count} metadata pairs, "
            f"at most {MAX_TENSORS} and {MAX_PAIRS} are read",
            offset=8,
        )
    metadata, alignment = _read_metadata(cursor, pair_count)
    metadata_end = cursor.offset
    described = [_read_description(cursor, index) for index in range(tensor_count)]
    data_start = -(-cursor.offset // alignment) * alignment
    tensors = _place(cursor, described, data, data_start, alignment)
    return GgufFile(
        path=path,
        version=version,
        alignment=alignment,
        metadata=MappingProxyType(metadata),
        tensors=MappingProxyType(tensors),
        data=data,
        metadata_end=metadata_end,
    )


def _read_version(cursor: Cursor) -> int:
    start = cursor.take(4, "the magic")
    if bytes(cursor.buffer[start:4]) != MAGIC:
        found = bytes(cursor.buffer[start:4])
        raise cursor.error(
            "E_GGUF_MAGIC", f"the file starts with {found!r}, expected {MAGIC!r}", offset=0
        )
    version = cursor.u32("the version")
    # A small number whose low half is zero was written with its bytes the other way round.
    if version and version & 0xFFFF == 0:
        raise UnsupportedError(
            "this GGUF file is big-endian; convert it to little-endian with the tool that wrote it",
            code="E_GGUF_BIG_ENDIAN",
        )
    if version == 0:
        raise cursor.error("E_GGUF_VERSION", "version 0 does not exist", offset=4)
    if version not in (2, 3):
        raise UnsupportedError(
            f"GGUF version {version} is not read here, only 2 and 3", code="E_GGUF_VERSION"
        )
    return version


def _read_metadata(cursor: Cursor, count: int) -> tuple[dict[str, GgufValue], int]:
    metadata: dict[str, GgufValue] = {}
    alignment = DEFAULT_ALIGNMENT
    for index in range(count):
        start = cursor.offset
        key = cursor.string(f"metadata key {index}", MAX_KEY_BYTES)
        if not key or key in metadata:
            problem = f"repeats {shown(key)}" if key else "is empty"
            raise cursor.error("E_GGUF_KEY", f"metadata key {index} {problem}", offset=start)
        value_type = cursor.u32(f"the type of {shown(key)}")
        metadata[key] = read_value(cursor, value_type, shown(key))
        if key == ALIGNMENT_KEY:
            alignment = _check_alignment(cursor, value_type, metadata[key], start)
    return metadata, alignment


def _check_alignment(cursor: Cursor, value_type: int, value: GgufValue, start: int) -> int:
    powers = [1 << exponent for exponent in range(MAX_ALIGNMENT.bit_length())]
    if value_type == UINT32 and value in powers:
        return int(value)
    raise cursor.error(
        "E_GGUF_ALIGNMENT",
        f"{ALIGNMENT_KEY} is {value!r}, expected a 32-bit power of two up to {MAX_ALIGNMENT}",
        offset=start,
    )


@dataclass(frozen=True, slots=True)
class _Description:
    """One tensor's entry, before its place in the file is known."""

    name: str
    ggml_type: GgmlType
    shape: tuple[int, ...]
    offset: int
    entry: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) // self.ggml_type.block_size * self.ggml_type.block_bytes


def _read_description(cursor: Cursor, index: int) -> _Description:
    entry = cursor.offset
    name = cursor.string(f"the name of tensor {index}", MAX_NAME_BYTES)
    what = f"tensor {shown(name)}" if name else f"tensor {index}"
    if not name:
        raise cursor.error("E_GGUF_NAME", f"the name of tensor {index} is empty", offset=entry)
    dimension_count = cursor.u32(f"the dimension count of {what}")
    if dimension_count > MAX_DIMENSIONS:
        raise cursor.error(
            "E_GGUF_SHAPE",
            f"{what} has {dimension_count} dimensions, at most {MAX_DIMENSIONS}",
            offset=cursor.offset - 4,
        )
    inner_first = [cursor.u64(f"a dimension of {what}") for _ in range(dimension_count)]
    ggml_type = _tensor_type(cursor.u32(f"the type of {what}"), what)
    shape = tuple(reversed(inner_first))
    _check_shape(cursor, shape, ggml_type, what, entry)
    return _Description(name, ggml_type, shape, cursor.u64(f"the offset of {what}"), entry)


def _tensor_type(type_id: int, what: str) -> GgmlType:
    if type_id in GGML_TYPES:
        return GGML_TYPES[type_id]
    if type_id in REMOVED_GGML_TYPES:
        reason = f"{REMOVED_GGML_TYPES[type_id]}, which ggml removed; quantize the model again"
    else:
        reason = f"number {type_id}, which this version does not know"
    raise UnsupportedError(f"{what} has the type {reason}", code="E_GGUF_TENSOR_TYPE")


def _check_shape(
    cursor: Cursor, shape: tuple[int, ...], ggml_type: GgmlType, what: str, entry: int
) -> None:
    # An axis of length 0 must not hide an absurd one, so it counts as 1 here.
    if math.prod(max(length, 1) for length in shape) > MAX_ELEMENTS:
        raise cursor.error(
            "E_GGUF_SHAPE", f"{what} has more than {MAX_ELEMENTS} elements: {shape}", offset=entry
        )
    row = shape[-1] if shape else 1
    if row % ggml_type.block_size:
        raise cursor.error(
            "E_GGUF_SHAPE",
            f"{what} has rows of {row} elements, expected a multiple of "
            f"{ggml_type.block_size} for {ggml_type.name}",
            offset=entry,
        )


def _place(
    cursor: Cursor,
    described: list[_Description],
    data: NDArray[np.uint8],
    data_start: int,
    alignment: int,
) -> dict[str, GgufTensor]:
    tensors: dict[str, GgufTensor] = {}
    room = max(data.size - data_start, 0)
    for one in described:
        what = f"tensor {shown(one.name)}"
        if one.name in tensors:
            raise cursor.error("E_GGUF_NAME", f"{what} is described twice", offset=one.entry)
        if one.offset % alignment:
            message = f"{what} has offset {one.offset}, expected a multiple of {alignment}"
            raise cursor.error("E_GGUF_OFFSET", message, offset=one.entry)
        if one.offset > room or one.nbytes > room - one.offset:
            message = f"{what} takes {one.nbytes} bytes at {one.offset} of {room} bytes of data"
            raise cursor.error("E_GGUF_TRUNCATED", message, offset=one.entry)
        start = data_start + one.offset
        view = data[start : start + one.nbytes]
        tensors[one.name] = GgufTensor(one.name, one.ggml_type, one.shape, start, view)
    _refuse_overlap(cursor, tensors)
    return tensors


def _refuse_overlap(cursor: Cursor, tensors: Mapping[str, GgufTensor]) -> None:
    """Two tensors over the same bytes would be one weight under two names, unsaid."""
    in_order = sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.data.size))
    for one, following in pairwise(in_order):
        if one.offset + one.data.size > following.offset:
            raise cursor.error(
                "E_GGUF_OVERLAP",
                f"tensors {shown(one.name)} and {shown(following.name)} share bytes",
                offset=following.offset,
            )
