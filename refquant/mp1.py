"""RQ-MP1, the profile of msgpack in which one value has exactly one spelling.

Headers of `.rq` files and canonical descriptors are written in it. msgpack alone leaves the writer
many spellings of one value and the reader many meanings of one spelling; the profile keeps the
shortest form only, finite binary64 floats only, integers of at most 53 bits, keys that are unique
and sorted, and neither nil nor extension types. A reader refuses everything else, with one code
for each law. The grammar is chapter 3 of the specification.

The writer is the `msgpack` library. The reader is our own: a stock decoder accepts most of what
the profile bans, and allocates before it has looked.
"""

import math
import re
import struct
from functools import lru_cache
from typing import Final, NoReturn

import msgpack

from refquant.errors import FormatError

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "MAX_VALUES", "decode", "encode", "normalized", "pack"]

MAX_DEPTH: Final = 16
"""Arrays and maps that may be open at once."""

MAX_VALUES: Final = 1 << 22
"""Values in one document; a map's keys count as values."""

MAX_INTEGER: Final = (1 << 53) - 1
"""Largest magnitude of an integer: what a binary64 reader (JavaScript) still holds exactly."""

_KEY: Final = re.compile(rb"[a-z][a-z0-9_.-]{0,63}")


def encode(value: object) -> bytes:
    """The canonical bytes of a value made of dict, list, tuple, str, bytes, bool, int and float.

    Equal content gives equal bytes, whatever the insertion order of its dicts; a tuple is written
    as a list. Raises ValueError, with the place, for whatever the profile has no spelling for.
    """
    return pack(normalized(value))


def pack(value: object) -> bytes:
    """The bytes of a value that `normalized` gave; of any other they may break every law."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def normalized(value: object) -> object:
    """The value as `decode` gives it back: with lists for tuples, and maps in key order.

    Raises ValueError, with the place, for whatever the profile has no spelling for.
    """
    try:
        return _normalized(value, 0, [MAX_VALUES])
    except _UnspelledError as error:
        raise ValueError(f"${''.join(reversed(error.steps))}: {error.reason}") from None


class _UnspelledError(Exception):
    """Why a value has no spelling, and the steps to it, the last one first."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.steps: list[str] = []


def _normalized(value: object, depth: int, budget: list[int]) -> object:
    """The value with its maps in key order, checked against the profile."""
    budget[0] -= 1
    if budget[0] < 0:
        raise _UnspelledError(f"more than {MAX_VALUES} values in one RQ-MP1 document")
    if not isinstance(value, dict | list | tuple):
        return _normalized_scalar(value)
    if depth == MAX_DEPTH:
        raise _UnspelledError(f"nested deeper than {MAX_DEPTH} arrays and maps")
    if isinstance(value, dict):
        return _normalized_map(value, depth + 1, budget)
    return _normalized_items(value, depth + 1, budget)


def _normalized_map(
    value: dict[object, object], depth: int, budget: list[int]
) -> dict[str, object]:
    budget[0] -= len(value)
    entries: dict[str, object] = {}
    for key in _sorted_keys(value):
        try:
            entries[key] = _normalized(value[key], depth, budget)
        except _UnspelledError as error:
            # The way there is put together only where something is wrong.
            error.steps.append(f".{key}")
            raise
    return entries


def _normalized_items(
    value: list[object] | tuple[object, ...], depth: int, budget: list[int]
) -> list[object]:
    items: list[object] = []
    for position, item in enumerate(value):
        try:
            items.append(_normalized(item, depth, budget))
        except _UnspelledError as error:
            error.steps.append(f"[{position}]")
            raise
    return items


def _sorted_keys(value: dict[object, object]) -> list[str]:
    keys: list[str] = []
    for key in value:
        if not isinstance(key, str) or not _is_key(key):
            raise _UnspelledError(f"key {key!r} does not match [a-z][a-z0-9_.-]{{0,63}}")
        keys.append(key)
    # Only ASCII passes the pattern, so sorting by code point is sorting by UTF-8 bytes.
    return sorted(keys)


@lru_cache(maxsize=1024)
def _is_key(key: str) -> bool:
    return _KEY.fullmatch(key.encode("utf-8", "replace")) is not None


def _normalized_scalar(value: object) -> object:
    if isinstance(value, bool | bytes):
        return value
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise _UnspelledError(f"integer {value} is outside ±(2^53 - 1)")
        return int(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _UnspelledError(f"{value!r} has a lone surrogate, no UTF-8") from None
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value) or (value == 0.0 and math.copysign(1.0, value) < 0):
            raise _UnspelledError(f"{value!r}; floats must be finite and not -0.0")
        return float(value)
    raise _UnspelledError(f"{type(value).__name__} has no spelling in RQ-MP1")


def decode(
    data: bytes | bytearray | memoryview, *, where: str = "header", origin: int = 0
) -> object:
    """The value of canonical RQ-MP1 bytes: dict, list, str, bytes, bool, int, float.

    `where` names the document in messages, and `origin` is the offset of its first byte in the
    file. Raises FormatError with an `E_MP_*` code for the first law that is broken, in the order
    of the bytes. No count is believed before the bytes that could fill it are there, and no
    container is allocated from a count.
    """
    reader = _Reader(bytes(data), where, origin)
    value = reader.value(0)
    if reader.position != len(reader.data):
        reader.fail("E_MP_TRAIL", reader.position, f"{reader.left()} bytes follow the value")
    return value


class _Reader:
    """A position in the bytes, and what is left of the budget of values."""

    __slots__ = ("budget", "data", "keys", "origin", "position", "size", "where")

    def __init__(self, data: bytes, where: str, origin: int) -> None:
        self.data = data
        self.size = len(data)
        self.where = where
        self.origin = origin
        self.position = 0
        self.budget = MAX_VALUES
        self.keys: dict[bytes, str] = {}

    def fail(self, code: str, offset: int, message: str) -> NoReturn:
        place = self.origin + offset
        raise FormatError(code, f"reading RQ-MP1: {message}", offset=place, where=self.where)

    def left(self) -> int:
        return self.size - self.position

    def value(self, depth: int) -> object:
        """The value at the position. Recursion is bounded by MAX_DEPTH."""
        start = self.position
        if start >= self.size:
            self.fail("E_MP_TRUNC", start, "expected a value, found the end")
        tag = self.data[start]
        self.position = start + 1
        if tag < 0x80:
            return tag
        if 0xA0 <= tag < 0xC0:
            return self.text(tag & 0x1F, start)
        if tag < 0x90:
            return self.map(tag & 0x0F, start, depth)
        if tag < 0xA0:
            return self.array(tag & 0x0F, start, depth)
        return tag - 0x100 if tag >= 0xE0 else self.tagged(tag, start, depth)

    def tagged(self, tag: int, start: int, depth: int) -> object:
        """A value whose tag is one of c0..df."""
        if tag in _INTEGERS:
            return self.integer(tag, start)
        if tag in (0xC2, 0xC3):
            return tag == 0xC3
        if tag == 0xCB:
            return self.float64(start)
        if tag not in _SIZED:
            self.fail("E_MP_TYPE", start, f"tag {tag:02x} ({_forbidden(tag)}) is not allowed")
        width, least, kind = _SIZED[tag]
        size = self.number(width, start)
        if size < least:
            self.fail("E_MP_MINIMAL", start, f"size {size} after tag {tag:02x} has a shorter form")
        if kind == "array":
            return self.array(size, start, depth)
        if kind == "map":
            return self.map(size, start, depth)
        return self.text(size, start) if kind == "str" else self.take(size, start)

    def number(self, width: int, start: int) -> int:
        """A big-endian unsigned integer of `width` bytes."""
        return int.from_bytes(self.take(width, start), "big")

    def take(self, size: int, start: int) -> bytes:
        begin = self.position
        if size > self.size - begin:
            self.fail("E_MP_TRUNC", start, f"needs {size} more bytes, {self.left()} are left")
        self.position = begin + size
        return self.data[begin : self.position]

    def text(self, size: int, start: int) -> str:
        try:
            return self.take(size, start).decode("utf-8")
        except UnicodeDecodeError as error:
            offset = self.position - size + error.start
            self.fail("E_MP_UTF8", offset, f"a string is not UTF-8 ({error.reason})")

    def float64(self, start: int) -> float:
        number: float = struct.unpack(">d", self.take(8, start))[0]
        if not math.isfinite(number):
            self.fail("E_MP_FLOAT", start, f"float {number} is not finite")
        if number == 0.0 and math.copysign(1.0, number) < 0:
            self.fail("E_MP_FLOAT", start, "float -0.0 is not allowed")
        return number

    def integer(self, tag: int, start: int) -> int:
        width, signed, longer = _INTEGERS[tag]
        number = int.from_bytes(self.take(width, start), "big", signed=signed)
        if number in longer:
            self.fail(
                "E_MP_MINIMAL", start, f"integer {number} after tag {tag:02x} has a shorter form"
            )
        if not -MAX_INTEGER <= number <= MAX_INTEGER:
            self.fail("E_MP_INT", start, f"integer {number} is outside ±(2^53 - 1)")
        return number

    def open(self, size: int, values: int, start: int, depth: int) -> None:
        """Believe a count only if the depth, the bytes that are left and the budget allow it."""
        if depth == MAX_DEPTH:
            self.fail("E_MP_DEPTH", start, f"nested deeper than {MAX_DEPTH} arrays and maps")
        if values > self.size - self.position:
            self.fail("E_MP_TRUNC", start, f"{size} entries claimed, {self.left()} bytes are left")
        self.budget -= values
        # The outermost value itself is the one that no count has announced.
        if self.budget < 1:
            self.fail("E_MP_LIMIT", start, f"more than {MAX_VALUES} values")

    def array(self, size: int, start: int, depth: int) -> list[object]:
        self.open(size, size, start, depth)
        # The list grows item by item; nothing is allocated from the count.
        return [self.value(depth + 1) for _ in range(size)]

    def map(self, size: int, start: int, depth: int) -> dict[str, object]:
        self.open(size, 2 * size, start, depth)
        entries: dict[str, object] = {}
        previous = b""
        for _ in range(size):
            at = self.position
            key = self.key()
            if key <= previous:
                self.fail("E_MP_ORDER", at, f"key {key!r} follows {previous!r}; keys must increase")
            entries[self.keys[key]] = self.value(depth + 1)
            previous = key
        return entries

    def key(self) -> bytes:
        start = self.position
        if start >= len(self.data):
            self.fail("E_MP_TRUNC", start, "expected a key, found the end")
        tag = self.data[start]
        self.position = start + 1
        if 0xA0 <= tag < 0xC0:
            size = tag & 0x1F
            known = self.data[start + 1 : start + 1 + size]
            # The same few keys come again and again.
            if known in self.keys and len(known) == size:
                self.position += size
                return known
        elif tag in _SIZED and _SIZED[tag][2] == "str":
            width, least, _ = _SIZED[tag]
            size = self.number(width, start)
            if size < least:
                self.fail("E_MP_MINIMAL", start, f"key of size {size} has a shorter form")
        else:
            self.fail("E_MP_KEY", start, f"tag {tag:02x} begins a key; keys are strings")
        key = self.take(size, start)
        if not _KEY.fullmatch(key):
            self.fail(
                "E_MP_KEY", start, f"key {key[:80]!r} does not match [a-z][a-z0-9_.-]{{0,63}}"
            )
        self.keys[key] = key.decode("ascii")
        return key


# tag -> (bytes, signed, the values that have a shorter form)
_INTEGERS: Final[dict[int, tuple[int, bool, range]]] = {
    0xCC: (1, False, range(1 << 7)),
    0xCD: (2, False, range(1 << 8)),
    0xCE: (4, False, range(1 << 16)),
    0xCF: (8, False, range(1 << 32)),
    0xD0: (1, True, range(-(1 << 5), 1 << 7)),
    0xD1: (2, True, range(-(1 << 7), 1 << 15)),
    0xD2: (4, True, range(-(1 << 15), 1 << 31)),
    0xD3: (8, True, range(-(1 << 31), 1 << 63)),
}

# tag -> (bytes of the size, smallest size with no shorter form, kind)
_SIZED: Final[dict[int, tuple[int, int, str]]] = {
    0xC4: (1, 0, "bin"),
    0xC5: (2, 1 << 8, "bin"),
    0xC6: (4, 1 << 16, "bin"),
    0xD9: (1, 1 << 5, "str"),
    0xDA: (2, 1 << 8, "str"),
    0xDB: (4, 1 << 16, "str"),
    0xDC: (2, 1 << 4, "array"),
    0xDD: (4, 1 << 16, "array"),
    0xDE: (2, 1 << 4, "map"),
    0xDF: (4, 1 << 16, "map"),
}


def _forbidden(tag: int) -> str:
    if tag == 0xC0:
        return "nil"
    if tag == 0xC1:
        return "reserved"
    return "float32" if tag == 0xCA else "extension type"
