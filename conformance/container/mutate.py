"""Damage for `.rq` files at every depth: bytes, table, header bytes, header meaning, planes.

All but the plainest damage is laid out again under right checksums, so that it reaches the checks
behind them.
"""

import copy
import struct

import msgpack
import zstandard

from conformance.container.parts import DOCUMENT, HEADER, RAW, Parts, Payload, build
from conformance.container.random_layouts import random_parts

__all__ = [
    "KINDS_OF_FILES",
    "change_bytes",
    "change_meaning",
    "mutant",
    "spelled",
    "take_apart",
]

LARGEST_FRAME = 1 << 20

ODDITIES = [
    *(0, 1, 2, 3, 4, 5, 8, 16, 31, 32, 33, 64, 127, 255, 256, -1, 2**16, 2**20, 2**24, 2**31),
    *(2**32, 2**40, 2**53 - 1, 0.0, 1.0, -1.5, 1e300, 5e-324, True, False, b"", b"abcd", [], {}),
    *("", "a", "q", "s", "d", "u", "i", "f", "add", "mul", "sub", "div", "lut", "fn", "none"),
    *("e8m0", "flat", "parts"),
    *([1], [[[8, 0, [], []]]], [[[4, 0, [2], [4]]]], ["mul", "q", "q"]),
    {"k": "f", "s": 0, "e": 8, "m": 0, "bias": 127, "sp": "e8m0"},
    {"k": "f", "s": 1, "e": 4, "m": 3, "bias": 7, "sp": "fn"},
    {"k": "d", "base": 3, "n": 5},
    *(["div", "q", "q"], ["flat"], ["parts", 2, 1, 2], ["parts", 3, 0, 4], {"codes": 2}),
    *({"view": ["flat"]}, {"words": {"a": 2}}, {"gather": {"index": "g", "planes": ["a"]}}),
]


JSON_PIECES = [
    *(b"", b" ", b"\n", b",", b":", b'"', b"{", b"}", b"[", b"]", b"{}", b"[]", b'""', b"null"),
    *(b"true", b"0", b"-0", b"01", b"1.0", b"1e2", b"-1", b"1e400", b"9007199254740993", b"1.5"),
    *(b"4", b"5", b"4294967296", b"18446744073709551616", b"NaN", b"/**/", b"\xff", b"\x00"),
    *(b'"vocab"', b'"model":{}', b'"added_tokens":[]', b'"id":4,', b'"x":5,', b'"a":1,"a":1,'),
    *(b'"\\u0000"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b'"\xc3\xa9"', b'"\xed\xa0\x80"'),
    *(b"[" * 70, b"[" * 60 + b"]" * 60, b"\xef\xbb\xbf", b'"\t"', b"\x0c", b'"__proto__":3,'),
]


def change_bytes(data, chance):
    """Replace, flip, remove or insert one byte."""
    kind = chance.randrange(4) if data else 3
    place = chance.randrange(max(len(data), 1))
    if kind == 0:
        data[place] = chance.randrange(256)
    elif kind == 1:
        data[place] ^= 1 << chance.randrange(8)
    elif kind == 2:
        del data[place]
    else:
        data[place:place] = bytes([chance.randrange(256)])


def change_meaning(top, chance):
    """Replace, nudge, remove or repeat one value somewhere in the header."""
    found = list(places(top))
    if not found:
        return
    parent, key = chance.choice(found)
    kind = chance.randrange(10)
    if kind < 6:
        parent[key] = copy.deepcopy(chance.choice(ODDITIES))
    elif kind == 6 and type(parent[key]) is int:
        parent[key] += chance.choice([-1, 1, 2, 32])
    elif kind == 7 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif kind == 8:
        other, place = chance.choice(list(places(top)))
        parent[key] = copy.deepcopy(other[place])
    else:
        del parent[key]


def places(value):
    """Every entry of every map and array, as (container, key)."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def spelled(value):
    """The msgpack of a value with its keys in order: RQ-MP1, where the value has such a spelling.

    Not `mp1.encode`, which refuses the rest; a reader is to refuse it.
    """
    return msgpack.packb(in_order(value), use_bin_type=True)


def in_order(value):
    """The value with its maps in the order of their keys."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [in_order(item) for item in value]
    return value


def take_apart(data):
    """The parts of a file, as `build` puts them together; the header stays bytes.

    What a damaged table says is taken as far as it can be.
    """
    count = min(struct.unpack_from("<I", data, 24)[0], len(data) // 64 - 1)
    payloads = []
    for number in range(count):
        offset, stored, size, _, codec, kind = struct.unpack_from("<QQQIBB", data, 64 + 64 * number)
        taken = data[offset : offset + stored]
        payloads.append(Payload(kind, taken, None if codec == RAW else decoded(taken, size)))
    features = struct.unpack_from("<I", data, 12)[0]
    header = payloads[HEADER].stored if payloads else b""
    return Parts(header, payloads[1:], preamble={"features": features} if features else {})


def decoded(frame, size):
    """What a frame stands for; zeros, where it is damaged."""
    size = min(size, LARGEST_FRAME)
    try:
        if zstandard.frame_content_size(frame) > LARGEST_FRAME:
            return bytes(size)
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=LARGEST_FRAME)
    except zstandard.ZstdError:
        return bytes(size)


def in_the_file(data, _parts, chance):
    """Bytes changed wherever they are, under the old checksums."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        change_bytes(changed, chance)
    return bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed) + 1)])])


def in_the_header_bytes(_data, parts, chance):
    """One or two bytes of the header changed."""
    header = bytearray(parts.header)
    for _ in range(chance.randint(1, 2)):
        change_bytes(header, chance)
    parts.header = bytes(header)
    return build(parts)


def in_the_headers_meaning(_data, parts, chance):
    """Well-formed headers that say odd things."""
    try:
        header = msgpack.unpackb(parts.header)
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            change_meaning(header, chance)
        parts.header = spelled(header)
    except (ValueError, TypeError):
        # A header that is damaged already, or whose new meaning has no spelling.
        return in_the_header_bytes(b"", parts, chance)
    return build(parts)


def in_the_table(_data, parts, chance):
    """One or two fields of an entry, or of the preamble."""
    entry = chance.randrange(len(parts.payloads) + 1)
    large = [0, 1, 63, 64, 2**31, 2**32, 2**63, 2**64 - 64, 2**64 - 1, chance.randrange(2000)]
    choices = [(field, large) for field in range(3)] + [(field, range(256)) for field in (4, 5)]
    for field, values in chance.sample(choices, chance.randint(1, 2)):
        parts.entries.setdefault(entry, {})[field] = chance.choice(values)
    if chance.random() < 0.3:
        key, most = chance.choice(
            [("major", 2**16), ("minor", 2**16), ("features", 2**32), ("segments", 2**32)]
        )
        parts.preamble[key] = chance.choice([0, 1, 2, most - 1, chance.randrange(most)])
    return build(parts)


def in_the_planes(_data, parts, chance):
    """Other bytes in a segment, as many as before: all codes are lawful somewhere."""
    if parts.payloads:
        payload = chance.choice(parts.payloads)
        changed = bytearray(payload.stored or b"\0")
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.choice([0, 255, chance.randrange(256)])
        if payload.raw is None:
            payload.stored = bytes(changed)
    return build(parts)


def in_a_text(_data, parts, chance):
    """Pieces of JSON put into a document, or taken out of it."""
    texts = [p for p in parts.payloads if p.kind == DOCUMENT and p.raw is None and p.stored]
    if not texts:
        return in_the_planes(b"", parts, chance)
    payload = chance.choice(texts)
    changed = bytearray(payload.stored)
    for _ in range(chance.choice([1, 1, 2])):
        place = chance.randrange(len(changed) + 1)
        marks = [i for i, byte in enumerate(changed) if byte in b'{}[]:,"0123456789']
        if marks and chance.random() < 0.8:
            place = chance.choice(marks) + chance.randrange(2)
        length = chance.choice([0, 0, 1, 1, 2, 5])
        changed[place : place + length] = chance.choice(JSON_PIECES)
    payload.stored = bytes(changed) or b" "
    return build(parts)


def in_a_frame(_data, parts, chance):
    """A byte of a compressed segment changed behind a right CRC-32, mostly near its beginning."""
    frames = [payload for payload in parts.payloads if payload.raw and payload.stored]
    if not frames:
        return in_the_planes(b"", parts, chance)
    payload = chance.choice(frames)
    changed = bytearray(payload.stored)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        near = chance.choice([8, 32, len(changed)])
        place = min(chance.randrange(near), len(changed) - 1)
        changed[place] ^= chance.choice([1 << chance.randrange(8), chance.randrange(256)])
    if chance.random() < 0.1:
        del changed[chance.randrange(1, len(changed) + 1) :]
    payload.stored = bytes(changed)
    return build(parts)


def in_a_new_layout(_data, _parts, chance):
    """A layout drawn at random, now and then with something else in its place."""
    parts = random_parts(chance)
    scheme = parts.header["core"]["schemes"][0]
    if chance.random() < 0.25:
        change_meaning(scheme, chance)
    elif "ops" in scheme and chance.random() < 0.3:
        change_meaning(scheme["ops"], chance)
    if chance.random() < 0.02:
        parts.preamble["features"] = parts.preamble.get("features", 0) ^ 4
    parts.header = spelled(parts.header)
    return in_the_planes(b"", parts, chance) if chance.random() < 0.25 else build(parts)


KINDS_OF_FILES = (
    in_the_file,
    in_the_header_bytes,
    *[in_the_headers_meaning] * 3,
    in_the_table,
    in_the_planes,
    in_a_frame,
    in_a_text,
)

KINDS = (*[in_a_new_layout] * 4, *KINDS_OF_FILES)


def mutant(data, chance):
    """A damaged copy of a file; `chance` is a `random.Random`."""
    if len(data) < 128:
        return build(random_parts(chance)) if not data else in_the_file(data, None, chance)
    return chance.choice(KINDS)(data, take_apart(data), chance)
