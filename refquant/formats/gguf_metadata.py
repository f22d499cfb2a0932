"""The metadata of a GGUF file: a cursor that never leaves the file, and values that stay packed.

A GGUF string is a 64-bit length and that many bytes of UTF-8. An array says the type of its
elements, their count, and holds them one after another; vocabularies are arrays of 10^5 strings,
so arrays stay where they are in the file and give up elements when asked.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError

__all__ = ["Cursor", "GgufArray", "GgufValue", "read_value"]

GgufValue = int | float | bool | str | Sequence[object]

# The value types of the format, by id. 7, 8 and 9 (bool, string, array) have laws of their own.
NUMBER_TYPES: Final[dict[int, np.dtype[np.generic]]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
BOOL: Final = 7
STRING: Final = 8
ARRAY: Final = 9

# Far above any value seen in a model (the longest are chat templates and vocabularies as JSON).
MAX_STRING_BYTES: Final = 1 << 26
# Thirty times the merges of the largest vocabularies; it bounds the one loop that opening runs.
MAX_STRINGS: Final = 1 << 24
# Real files never nest; the format allows it, so a little is read and no stack is at risk.
MAX_DEPTH: Final = 4
MAX_NESTED_ARRAYS: Final = 1 << 16

_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


class Cursor:
    """A position in the bytes of a file; every step is compared with what is left, never added up.

    `what` in the methods names the thing being read, for the error.
    """

    __slots__ = ("buffer", "end", "nested_arrays", "offset")

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.buffer = data.data
        self.offset = 0
        self.end = data.size
        self.nested_arrays = 0

    def error(self, code: str, message: str, *, offset: int | None = None) -> FormatError:
        """The error for what starts at `offset`, or here."""
        return FormatError(code, message, offset=self.offset if offset is None else offset)

    def take(self, size: int, what: str) -> int:
        """Step over `size` bytes and say where they start."""
        left = self.end - self.offset
        if size > left:
            raise self.error("E_GGUF_TRUNCATED", f"{what} needs {size} bytes, but {left} are left")
        start = self.offset
        self.offset = start + size
        return start

    def u32(self, what: str) -> int:
        """A 32-bit unsigned integer."""
        (value,) = _U32.unpack_from(self.buffer, self.take(4, what))
        return int(value)

    def u64(self, what: str) -> int:
        """A 64-bit unsigned integer."""
        (value,) = _U64.unpack_from(self.buffer, self.take(8, what))
        return int(value)

    def string(self, what: str, maximum: int = MAX_STRING_BYTES) -> str:
        """A string of at most `maximum` bytes."""
        length = self.u64(f"the length of {what}")
        if length > maximum:
            at = self.offset - 8
            raise self.error(
                "E_GGUF_STRING", f"{what} has {length} bytes, at most {maximum}", offset=at
            )
        start = self.take(length, what)
        return _text(bytes(self.buffer[start : start + length]), what, start)

    def count(self, what: str, minimum_bytes: int) -> int:
        """A 64-bit count of things that take at least `minimum_bytes` bytes each."""
        count = self.u64(f"the count of {what}")
        left = self.end - self.offset
        if count > left // minimum_bytes:
            raise self.error(
                "E_GGUF_COUNT",
                f"{count} {what} of at least {minimum_bytes} bytes cannot be in {left} bytes",
                offset=self.offset - 8,
            )
        return count


class GgufArray(Sequence[object]):
    """An array of numbers, truth values or strings that decodes its elements when asked.

    `ends[i]` is where string i ends in the file; numbers have none. `to_list()` gives all at once.
    """

    __slots__ = ("_buffer", "_ends", "_first", "_numbers")

    def __init__(
        self,
        buffer: memoryview,
        *,
        numbers: NDArray[np.generic] | None = None,
        first: int = 0,
        ends: "array[int] | None" = None,
    ) -> None:
        self._buffer = buffer
        self._numbers = numbers
        self._first = first
        self._ends = array("Q") if ends is None else ends

    def __len__(self) -> int:
        return len(self._ends) if self._numbers is None else int(self._numbers.size)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> list[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self._numbers is not None:
            return self._numbers[index].item()
        index = range(len(self))[index]
        start = (self._ends[index - 1] if index else self._first) + 8
        raw = bytes(self._buffer[start : self._ends[index]])
        return _text(raw, f"element {index} of an array", start)

    def __iter__(self) -> Iterator[object]:
        return iter(self.to_list())

    def __repr__(self) -> str:
        kind = "str" if self._numbers is None else str(self._numbers.dtype)
        return f"<GGUF array of {len(self)} {kind}>"

    @property
    def is_text(self) -> bool:
        """True if the elements are strings."""
        return self._numbers is None

    def to_numpy(self) -> NDArray[np.generic]:
        """The numbers as an array over the file's own bytes; TypeError for strings."""
        if self._numbers is None:
            raise TypeError("an array of strings has no numbers")
        return self._numbers

    def to_list(self) -> list[object]:
        """All elements decoded."""
        if self._numbers is not None:
            return list(self._numbers.tolist())
        texts: list[object] = []
        start, buffer = self._first, self._buffer
        try:
            for end in self._ends:
                texts.append(str(buffer[start + 8 : end], "utf-8"))
                start = end
        except UnicodeDecodeError as error:
            what = f"element {len(texts)} of an array"
            raise _not_utf8(error, what, start + 8) from error
        return texts


def read_value(cursor: Cursor, value_type: int, what: str, depth: int = 0) -> GgufValue:
    """One metadata value of the given type, leaving the cursor behind it."""
    if value_type == STRING:
        return cursor.string(what)
    if value_type == BOOL:
        return _read_bool(cursor, what)
    if value_type == ARRAY:
        return _read_array(cursor, what, depth)
    dtype = _number_type(cursor, value_type, what)
    start = cursor.take(dtype.itemsize, what)
    number: int | float = np.frombuffer(cursor.buffer, dtype, count=1, offset=start)[0].item()
    return number


def _number_type(cursor: Cursor, value_type: int, what: str) -> np.dtype[np.generic]:
    if value_type not in NUMBER_TYPES:
        raise cursor.error(
            "E_GGUF_VALUE_TYPE",
            f"{what} has value type {value_type}, expected 0 to 12",
            offset=cursor.offset - 4,
        )
    return NUMBER_TYPES[value_type]


def _read_bool(cursor: Cursor, what: str) -> bool:
    start = cursor.take(1, what)
    value = cursor.buffer[start]
    if value > 1:
        raise cursor.error(
            "E_GGUF_BOOL", f"{what} is the byte {value}, expected 0 or 1", offset=start
        )
    return value == 1


def _read_array(cursor: Cursor, what: str, depth: int) -> Sequence[object]:
    element = cursor.u32(f"the element type of {what}")
    if element == STRING:
        return _read_strings(cursor, what)
    if element == ARRAY:
        return _read_nested(cursor, what, depth + 1)
    dtype = np.dtype("u1") if element == BOOL else _number_type(cursor, element, what)
    count = cursor.count(f"elements of {what}", dtype.itemsize)
    start = cursor.take(count * dtype.itemsize, what)
    numbers = np.frombuffer(cursor.buffer, dtype, count=count, offset=start)
    if element != BOOL:
        return GgufArray(cursor.buffer, numbers=numbers)
    if count and numbers.max() > 1:
        raise cursor.error("E_GGUF_BOOL", f"{what} holds a byte other than 0 and 1", offset=start)
    return GgufArray(cursor.buffer, numbers=numbers.view(np.bool_))


def _read_strings(cursor: Cursor, what: str) -> GgufArray:
    """Find where each string ends, without decoding any: the one loop that opening pays for."""
    count = cursor.count(f"strings in {what}", 8)
    if count > MAX_STRINGS:
        raise cursor.error("E_GGUF_COUNT", f"{what} has {count} strings, at most {MAX_STRINGS}")
    first = position = cursor.offset
    buffer, end, unpack = cursor.buffer, cursor.end, _U64.unpack_from
    ends = array("Q")
    try:
        for _ in range(count):
            position += 8 + unpack(buffer, position)[0]
            ends.append(position)
    except (struct.error, OverflowError):
        position = end + 1  # a length field outside the file, or one that no file can have
    if position > end:
        index = next((i for i, stop in enumerate(ends) if stop > end), len(ends))
        start = ends[index - 1] if index else first
        raise cursor.error(
            "E_GGUF_TRUNCATED", f"string {index} of {what} runs past the end", offset=start
        )
    cursor.offset = position
    return GgufArray(buffer, first=first, ends=ends)


def _read_nested(cursor: Cursor, what: str, depth: int) -> tuple[Sequence[object], ...]:
    if depth >= MAX_DEPTH:
        raise cursor.error("E_GGUF_DEPTH", f"{what} nests arrays deeper than {MAX_DEPTH}")
    count = cursor.count(f"arrays in {what}", 12)
    cursor.nested_arrays += count
    if cursor.nested_arrays > MAX_NESTED_ARRAYS:
        raise cursor.error(
            "E_GGUF_COUNT", f"{what} brings more than {MAX_NESTED_ARRAYS} nested arrays"
        )
    return tuple(_read_array(cursor, what, depth) for _ in range(count))


def _text(raw: bytes, what: str, offset: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(error, what, offset) from error


def _not_utf8(error: UnicodeDecodeError, what: str, offset: int) -> FormatError:
    return FormatError("E_GGUF_UTF8", f"{what} is not UTF-8", offset=offset + error.start)
