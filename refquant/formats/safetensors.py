"""The safetensors container: a JSON header of types, shapes and byte ranges, then the bytes.

    header length u64 | header, a JSON object padded with spaces | data

The ranges have to cover the data exactly: the first starts at 0, each next one where the last
ended, the last one ends with the file. Source: the format's description in the safetensors
repository; where it and the library differ (repeated keys, text around the header's object, keys
a tensor should not have), this reader follows the description.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.mapped import map_file, shown
from refquant.formats.strict_json import parse_object

__all__ = ["SafetensorsFile", "StoredTensor", "read_safetensors"]

# The format's own limit.
MAX_HEADER_BYTES: Final = 100_000_000
MAX_DIMENSIONS: Final = 32
MAX_ELEMENTS: Final = 1 << 48

# Bits of one element. Types under a byte come packed; F4 and the two F6 are the format's newest.
DTYPE_BITS: Final[Mapping[str, int]] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "U16": 16,
    "I16": 16,
    "U32": 32,
    "I32": 32,
    "U64": 64,
    "I64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "F16": 16,
    "BF16": 16,
    "F32": 32,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """One tensor as the file describes it; `data` is a view of the file's bytes from `offset`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    data: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SafetensorsFile:
    """A safetensors file whose every bound has been checked; tensors in the order of their bytes.

    `metadata` is the free text map that the header may hold under `__metadata__`.
    """

    path: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, StoredTensor] = field(repr=False)


def read_safetensors(path: str | os.PathLike[str], *, use_mmap: bool = True) -> SafetensorsFile:
    """Read the header of a safetensors file; tensors stay views of its bytes.

    FormatError (E_SAFETENSORS_* or E_JSON*) for damage; UnsupportedError for an unknown type.
    """
    data = map_file(path, use_mmap=use_mmap)
    try:
        return _read(data, os.fspath(path))
    except FormatError as error:
        raise error.at(os.fspath(path)) from error.__cause__


def _read(data: NDArray[np.uint8], path: str) -> SafetensorsFile:
    header_end = _header_end(data)
    raw = data[8:header_end].tobytes()
    text = raw.rstrip(b" ")
    if not text.startswith(b"{") or not text.endswith(b"}"):
        raise FormatError(
            "E_SAFETENSORS_HEADER",
            "the header must be one object, padded with spaces behind it only",
            offset=8,
        )
    header = parse_object(text, "the header")
    metadata = _metadata(header.pop("__metadata__", {}))
    described = [_describe(name, entry) for name, entry in header.items()]
    tensors = _place(described, data, header_end)
    return SafetensorsFile(path, MappingProxyType(metadata), MappingProxyType(tensors))


def _header_end(data: NDArray[np.uint8]) -> int:
    if data.size < 8:
        raise FormatError(
            "E_SAFETENSORS_TRUNCATED", f"the file has {data.size} bytes, expected at least 8"
        )
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > MAX_HEADER_BYTES:
        raise FormatError(
            "E_SAFETENSORS_HEADER",
            f"the header states {length} bytes, at most {MAX_HEADER_BYTES} are allowed",
            offset=0,
        )
    if length > data.size - 8:
        raise FormatError(
            "E_SAFETENSORS_TRUNCATED",
            f"the header states {length} bytes, but {data.size - 8} follow",
            offset=0,
        )
    return 8 + length


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError(
            "E_SAFETENSORS_HEADER", "must be an object of texts", where="__metadata__"
        )
    return value


@dataclass(frozen=True, slots=True)
class _Description:
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def _describe(name: str, entry: object) -> _Description:
    where = shown(name)
    keys = ["data_offsets", "dtype", "shape"]
    if not isinstance(entry, dict) or sorted(entry) != keys:
        found = sorted(entry) if isinstance(entry, dict) else entry
        raise _entry_error(f"found {found!r:.100}, expected an object with {keys}", where)
    dtype = entry["dtype"]
    if not isinstance(dtype, str):
        raise _entry_error(f"dtype is {dtype!r:.60}, expected a text", where)
    if dtype not in DTYPE_BITS:
        raise UnsupportedError(
            f"tensor {where} has the type {shown(dtype)}; known are {', '.join(DTYPE_BITS)}",
            code="E_SAFETENSORS_DTYPE",
        )
    shape = _naturals(entry["shape"], "shape", where, MAX_DIMENSIONS)
    offsets = _naturals(entry["data_offsets"], "data_offsets", where, 2)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _entry_error(f"data_offsets are {list(offsets)}, expected [start, end]", where)
    _check_size(dtype, shape, offsets, where)
    return _Description(name, dtype, shape, offsets[0], offsets[1])


def _entry_error(message: str, where: str) -> FormatError:
    return FormatError("E_SAFETENSORS_ENTRY", message, where=where)


def _naturals(value: object, key: str, where: str, most: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _entry_error(f"{key} is {value!r:.60}, expected a list of at most {most}", where)
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in value):
        raise _entry_error(f"{key} is {value!r:.60}, expected whole numbers from 0", where)
    return tuple(value)


def _check_size(dtype: str, shape: tuple[int, ...], offsets: tuple[int, ...], where: str) -> None:
    # An axis of length 0 must not hide an absurd one, so it counts as 1 here.
    if math.prod(max(length, 1) for length in shape) > MAX_ELEMENTS:
        raise _entry_error(f"{list(shape)} has more than {MAX_ELEMENTS} elements", where)
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    stored = offsets[1] - offsets[0]
    if bits != 8 * stored:
        raise FormatError(
            "E_SAFETENSORS_SIZE",
            f"{dtype} of shape {list(shape)} takes {bits} bits, "
            f"but {list(offsets)} holds {stored} bytes",
            where=where,
        )


def _place(
    described: list[_Description], data: NDArray[np.uint8], header_end: int
) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    room = data.size - header_end
    expected = 0
    for one in sorted(described, key=lambda one: (one.start, one.end)):
        if one.start != expected or one.end > room:
            raise FormatError(
                "E_SAFETENSORS_RANGE",
                f"bytes {one.start} to {one.end} of {room}, expected to start at {expected}",
                where=shown(one.name),
            )
        expected = one.end
        view = data[header_end + one.start : header_end + one.end]
        offset = header_end + one.start
        tensors[one.name] = StoredTensor(one.name, one.dtype, one.shape, offset, view)
    if expected != room:
        raise FormatError(
            "E_SAFETENSORS_RANGE",
            f"{room - expected} bytes behind the last tensor belong to none",
            offset=header_end + expected,
        )
    return tensors
