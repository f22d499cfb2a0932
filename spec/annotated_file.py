"""The smallest useful file, every byte of it explained, for chapter 1."""

import struct

from conformance.container.parts import assemble, build

__all__ = ["SMALLEST", "explained", "spans"]

FLOAT32 = {"bias": 127, "e": 8, "k": "f", "m": 23, "s": 1, "sp": "ieee"}
LAYOUT = {
    "rqd": 1,
    "planes": {"values": {"block": [1], "bytes": 4}},
    "fields": {"w": {"at": [[[32, 0, [], []]]], "elem": FLOAT32, "over": [1], "plane": "values"}},
    "value": "w",
}
VALUES = struct.pack("<3f", 1, -2, 0.5)
SMALLEST = build(
    assemble([("b", LAYOUT, [3], {"values": VALUES})], drawers={"info": {"labels": ["float/f32"]}})
)

PREAMBLE = (
    (8, "magic: 89, `RQF`, CR LF, 1a, LF"),
    (2, "major version 1"),
    (2, "minor version 0"),
    (4, "features: none"),
    (8, "file length {}"),
    (4, "segments: {}"),
    (4, "reserved"),
    (32, "root: SHA-256 of the 32 bytes before and the table after"),
)
ENTRY = (
    (8, "segment {n}: offset {}"),
    (8, "stored length {}"),
    (8, "raw length {}, the same: not compressed"),
    (4, "CRC-32"),
    (1, "codec {}: raw"),
    (1, "kind {}: {kind}"),
    (2, "flags"),
    (32, "SHA-256"),
)
Span = tuple[int, int, str]
KINDS = ("the header", "a tensor plane")


def fixed(
    data: bytes, at: int, fields: tuple[tuple[int, str], ...], **words: object
) -> tuple[list[Span], int]:
    """Spans of fixed-width fields from a position on, and the position after them."""
    found: list[Span] = []
    for size, text in fields:
        number = int.from_bytes(data[at : at + size], "little")
        found.append((at, at + size, text.format(number, **words)))
        at += size
    return found, at


def value(data: bytes, at: int, depth: int, found: list[Span]) -> int:
    """Spans of one RQ-MP1 value: maps, arrays, short strings, small integers."""
    tag, indent = data[at], "  " * depth
    if tag < 0x80:
        found.append((at, at + 1, f"{indent}{tag}"))
        return at + 1
    if 0xA0 <= tag < 0xC0:
        end = at + 1 + (tag & 31)
        found.append((at, end, f'{indent}"{data[at + 1 : end].decode()}"'))
        return end
    if tag >= 0xA0:
        raise ValueError(f"the smallest file has no value with tag {tag:02x}")
    count, kind = tag & 15, "map" if tag < 0x90 else "array"
    found.append((at, at + 1, f"{indent}{kind} of {count}"))
    at += 1
    for _ in range(count):
        if kind == "map":
            end = at + 1 + (data[at] & 31)
            found.append((at, end, f"{indent}  {data[at + 1 : end].decode()}:"))
            at = value(data, end, depth + 2, found)
        else:
            at = value(data, at, depth + 1, found)
    return at


def spans(data: bytes = SMALLEST) -> list[Span]:
    """(first byte, one past the last, what it says), from the first byte to the last."""
    found, at = fixed(data, 0, PREAMBLE)
    segments = []
    for number in range(int.from_bytes(data[24:28], "little")):
        segments.append(struct.unpack_from("<QQ", data, at))
        more, at = fixed(data, at, ENTRY, n=number, kind=KINDS[data[at + 29]])
        found += more
    for number, (offset, length) in enumerate(segments):
        if offset > at:
            found.append((at, offset, "zeros up to a multiple of 64"))
        if number == 0:
            at = value(data, offset, 0, found)
        else:
            numbers = struct.unpack_from(f"<{length // 4}f", data, offset)
            for i, weight in enumerate(numbers):
                found.append((offset + 4 * i, offset + 4 * i + 4, f"b[{i}] = {weight}"))
            at = offset + length
    return found


def explained() -> str:
    """The file as lines of offset, bytes and meaning, at most 8 bytes a line."""
    lines = []
    for start, end, text in spans():
        whole = SMALLEST[start:end]
        shown = [whole[i : i + 8].hex(" ") for i in range(0, len(whole), 8)]
        if not any(whole) and len(shown) > 1:
            shown = [f"{len(whole)} times 00"]
        for i, part in enumerate(shown):
            lines.append(f"{start + 8 * i:04x}  {part:23}  {text if i == 0 else ''}".rstrip())
    return "\n".join(["```text", *lines, "```"])
