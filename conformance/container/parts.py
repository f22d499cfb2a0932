"""`.rq` files made by hand, from the chapters of the format and not by the package's writer.

`example()` is a valid file in parts. A defect changes one part and `build` lays the file out again
with right offsets, checksums and root, so that exactly one thing is wrong in it.
"""

import copy
import struct
import zlib
from dataclasses import dataclass, field
from hashlib import sha256

from conformance.container.frames import frame
from refquant import mp1

HEADER, PLANE, DOCUMENT = 0, 1, 2
RAW, ZSTD = 0, 1

# Fields of a table entry, in order.
OFFSET, STORED, RAW_LENGTH, CRC, CODEC, KIND, FLAGS, SHA = range(8)


@dataclass
class Payload:
    """A segment after the header: its stored bytes, and what they decode to if compressed."""

    kind: int
    stored: bytes
    raw: bytes | None = None

    @property
    def codec(self):
        """As the table spells it."""
        return RAW if self.raw is None else ZSTD

    @property
    def decoded(self):
        """The bytes after decoding."""
        return self.stored if self.raw is None else self.raw


@dataclass
class Parts:
    """A file before it is laid out. `header` may be a value or bytes that stand for one."""

    header: object
    payloads: list[Payload]
    preamble: dict = field(default_factory=dict)
    # entry -> {field: value}, applied before the root is taken
    entries: dict = field(default_factory=dict)
    padding: bytes = b"\x00"
    tail: bytes = b""
    # applied to the finished bytes, after the root is taken
    patches: dict = field(default_factory=dict)


Q4_0 = {
    "rqd": 1,
    "planes": {"blocks": {"block": [32], "bytes": 18}},
    "fields": {
        "d": {
            "plane": "blocks",
            "elem": {"k": "f", "s": 1, "e": 5, "m": 10, "bias": 15, "sp": "ieee"},
            "over": [32],
            "at": [[[16, 0, [], []]]],
        },
        "q": {
            "plane": "blocks",
            "elem": {"k": "u", "b": 4},
            "over": [1],
            "at": [[[4, 16, [2, 16], [4, 8]]]],
        },
    },
    "value": ["mul", "d", ["sub", "q", 8.0]],
}

# Eight-bit codes, one binary32 scale for each row.
ROWS = {
    "rqd": 1,
    "planes": {"codes": {"block": [1], "bytes": 1}, "scales": {"block": [0], "bytes": 4}},
    "fields": {
        "q": {
            "plane": "codes",
            "elem": {"k": "i", "b": 8},
            "over": [1],
            "at": [[[8, 0, [], []]]],
        },
        "s": {
            "plane": "scales",
            "elem": {"k": "f", "s": 1, "e": 8, "m": 23, "bias": 127, "sp": "ieee"},
            "over": [0],
            "at": [[[32, 0, [], []]]],
        },
    },
    "value": ["mul", "s", "q"],
}

BLOCKS = struct.pack("<e", 0.5) + bytes(range(16)) + struct.pack("<e", -2.0) + bytes(range(16, 32))
CODES = bytes([1, 2, 3, 255, 254, 253])
SCALES = struct.pack("<2f", 0.25, -1.0)
CHAT = b"{{ messages }}"
TOKENIZER = b'{"added_tokens":[{"id":4}],"model":{"vocab":{"a":0,"b":1,"c":2,"d":3}}}'


def example():
    """Two documents, one empty; two tensors with three planes; alias, architecture, tokenizer."""
    core = {
        "alias": [{"name": "tied", "of": "a"}],
        "arch": {"family": "example", "fields": {"layers": 1, "rope_theta": 10000.0}},
        "docs": [
            {"media": "text/x-jinja", "name": "chat", "seg": [1]},
            {"media": "text/plain", "name": "empty", "seg": []},
            {"media": "application/json", "name": "tokenizer.json", "seg": [2]},
        ],
        "schemes": [copy.deepcopy(Q4_0), copy.deepcopy(ROWS)],
        "tensors": [
            {"name": "a", "planes": {"blocks": [3]}, "scheme": 0, "shape": [2, 32]},
            {"name": "b", "planes": {"codes": [4], "scales": [5]}, "scheme": 1, "shape": [2, 3]},
        ],
        "tokenizer": {
            "add_bos": True,
            "bos": 1,
            "doc": "tokenizer.json",
            "eos": [2, 3],
            "kind": "bpe-bytelevel-1",
        },
    }
    payloads = [
        Payload(DOCUMENT, CHAT),
        Payload(DOCUMENT, TOKENIZER),
        Payload(PLANE, BLOCKS),
        Payload(PLANE, CODES),
        Payload(PLANE, SCALES),
    ]
    return Parts({"core": core, "info": {"licence": "CC0-1.0"}}, payloads)


def compressed_example(size=4096, stored=None):
    """One tensor whose only plane is a frame; `stored` replaces the frame."""
    raw = bytes(i // 64 % 251 for i in range(size))
    bytes_plane = copy.deepcopy(ROWS)
    bytes_plane["planes"] = {"codes": {"block": [1], "bytes": 1}}
    bytes_plane["fields"] = {"q": bytes_plane["fields"]["q"]}
    bytes_plane["value"] = "q"
    tensor = {"name": "a", "planes": {"codes": [1]}, "scheme": 0, "shape": [size]}
    core = {"docs": [], "schemes": [bytes_plane], "tensors": [tensor]}
    payload = Payload(PLANE, frame(raw) if stored is None else stored(raw), raw)
    return Parts({"core": core, "info": {}}, [payload], preamble={"features": 1})


def assemble(tensors, documents=(), drawers=None, compress=frozenset(), **core):
    """Parts of a valid file: `tensors` are (name, description, shape, {plane: bytes}).

    `documents` are (name, media, data), `core` its optional entries, `drawers` sets `info` and
    `ext`, and `compress` names the planes and documents that are stored as frames if smaller.
    """
    payloads, schemes = [], []

    def add(kind, name, data):
        stored = frame(data) if name in compress else data
        is_smaller = len(stored) < len(data)
        payloads.append(Payload(kind, stored, data) if is_smaller else Payload(kind, data))
        return [len(payloads)]

    listed = [
        {"name": name, "media": media, "seg": add(DOCUMENT, name, data) if data else []}
        for name, media, data in sorted(documents)
    ]
    entries = []
    for name, description, shape, planes in sorted(tensors, key=lambda t: t[0].encode()):
        if description not in schemes:
            schemes.append(description)
        taken = {plane: add(PLANE, plane, planes[plane]) for plane in sorted(planes)}
        scheme = schemes.index(description)
        entries.append({"name": name, "shape": list(shape), "scheme": scheme, "planes": taken})
    core |= {"docs": listed, "schemes": copy.deepcopy(schemes), "tensors": entries}
    bits = 1 if any(p.raw is not None for p in payloads) else 0
    bits |= 4 if any("ops" in scheme for scheme in schemes) else 0
    features = {"features": bits} if bits else {}
    return Parts({"core": core, "info": {}} | (drawers or {}), payloads, preamble=features)


def align(position):
    return (position + 63) // 64 * 64


def build(parts):
    """The file's bytes."""
    header = parts.header if isinstance(parts.header, bytes) else mp1.encode(parts.header)
    payloads = [Payload(HEADER, header), *parts.payloads]
    position = 64 + 64 * len(payloads)
    body, entries = b"", []
    for number, payload in enumerate(payloads):
        padding = align(position) - position
        body += parts.padding * padding
        position += padding
        entry = [position, len(payload.stored), len(payload.decoded), zlib.crc32(payload.stored)]
        entry += [payload.codec, payload.kind, 0, sha256(payload.decoded).digest()]
        for place, value in parts.entries.get(number, {}).items():
            entry[place] = value
        entries.append(struct.pack("<QQQIBBH32s", *entry))
        body += payload.stored
        position += len(payload.stored)
    table = b"".join(entries)
    fields = {
        "magic": b"\x89RQF\r\n\x1a\n",
        "major": 1,
        "minor": 0,
        "features": 0,
        "length": position,
        "segments": len(entries),
        "reserved": 0,
    } | {key: value for key, value in parts.preamble.items() if key != "root"}
    fixed = struct.pack("<8sHHIQII", *fields.values())
    root = parts.preamble.get("root", sha256(fixed + table).digest())
    data = bytearray(fixed + root + table + body + parts.tail)
    for place, value in parts.patches.items():
        data[place] ^= value
    return bytes(data)
