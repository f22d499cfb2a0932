"""GGUF files made of bytes in the test's own hand, right or wrong on purpose."""

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LETTERS = {
    U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f",
    BOOL: "?", U64: "Q", I64: "q", F64: "d",
}  # fmt: skip

Pair = tuple[str, int, object]
Tensor = tuple[str, tuple[int, ...], int, bytes]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: object) -> bytes:
    """One metadata value; an array's content is (element type, elements)."""
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        element, elements = content
        body = b"".join(value(element, one) for one in elements)
        return struct.pack("<IQ", element, len(elements)) + body
    return struct.pack("<" + LETTERS[kind], content)


def pair(key: str, kind: int, content: object) -> bytes:
    return text(key) + struct.pack("<I", kind) + value(kind, content)


def description(name: str | bytes, shape: Sequence[int], type_id: int, offset: int) -> bytes:
    """One tensor's entry; `shape` is in NumPy's order."""
    dimensions = tuple(reversed(shape))
    head = text(name) + struct.pack("<I", len(dimensions))
    return head + struct.pack(f"<{len(dimensions)}QIQ", *dimensions, type_id, offset)


def header(tensors: int, pairs: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def pad(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)


def build(pairs: Sequence[Pair] = (), tensors: Sequence[Tensor] = (), alignment: int = 32) -> bytes:
    """A whole file: metadata, descriptions and data, each tensor aligned."""
    head = header(len(tensors), len(pairs)) + b"".join(pair(*one) for one in pairs)
    data = b""
    for name, shape, type_id, raw in tensors:
        head += description(name, shape, type_id, len(data))
        data = pad(data + raw, alignment)
    return pad(head, alignment) + data
