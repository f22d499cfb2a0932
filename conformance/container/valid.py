"""Files that every reader must accept: each feature alone, features in pairs, every layout."""

import struct
from hashlib import shake_128
from itertools import combinations

from conformance.container.byte_defects import bytes_as
from conformance.container.edges import cleared
from conformance.container.frames import library_frame
from conformance.container.parts import (
    BLOCKS,
    CODES,
    PLANE,
    Q4_0,
    ROWS,
    SCALES,
    TOKENIZER,
    Payload,
    assemble,
    build,
    compressed_example,
    example,
)

VALID = {}
"""Name -> the file's bytes."""

NOISE = "refquant corpus 1"


def noise(size, name):
    """Bytes that look random and are the same everywhere."""
    return shake_128(f"{NOISE}/{name}".encode()).digest(size)


def add(name, tensors, **options):
    """Register a valid file of the given tensors; their codes of no weight are made 0."""
    lawful = [(n, layout, shape, cleared(layout, shape, p)) for n, layout, shape, p in tensors]
    VALID[name] = build(assemble(lawful, **options))


SMALL = ("b", bytes_as({"k": "f", "s": 1, "e": 8, "m": 23, "bias": 127, "sp": "ieee"}, 32, size=4))
TENSOR = (*SMALL, [3], {"codes": struct.pack("<3f", 1, -2, 0.5)})
BLOCKED = ("a", Q4_0, [2, 32], {"blocks": BLOCKS})
SCALED = ("c", ROWS, [2, 3], {"codes": CODES, "scales": SCALES})

# ------------------------------------------------------------------- features, alone and in pairs

TEXTS = [
    ("licence", "text/plain; charset=utf-8", b"CC0 1.0" + b" " * 60 + b"\n"),
    ("empty", "text/plain", b""),
]
FEATURES = {
    "documents": {"documents": TEXTS},
    "tokenizer": {
        "documents": [("tokenizer.json", "application/json", TOKENIZER)],
        "tokenizer": {
            "add_bos": False,
            "doc": "tokenizer.json",
            "eos": [],
            "kind": "bpe-bytelevel-1",
        },
    },
    "aliases": {"alias": [{"name": "A", "of": "b"}, {"name": "é", "of": "b"}]},
    "architecture": {
        "arch": {"family": "x.y-1", "fields": {"layers": 2, "theta": 1e4, "on": True}}
    },
    "chat": {
        "chat": {
            "prompt": "<é>",
            "start": "",
            "turns": {"assistant": ["<a>", "\n"], "system": ["", ""], "user": ["<u>", "\n"]},
        }
    },
    "info": {"drawers": {"info": {"a": [1, -1, 2.5, "é", b"\0", {}], "labels": ["float/f32"]}}},
    "extension": {
        "drawers": {
            "info": {},
            "ext": {"x-a.b": {"critical": False, "data": [], "follows": "tensors"}},
        }
    },
    "frames": {
        "compress": {"licence", "blocks", "long"},
        "more": [
            (
                "long",
                bytes_as({"k": "i", "b": 8}, 8),
                [400],
                {"codes": b"\x07" * 300 + b"\xf9" * 100},
            ),
        ],
    },
    "blocks": {"more": [BLOCKED]},
    "two_planes": {"more": [SCALED]},
}


def merged(names):
    """The options of several features together."""
    options = {"documents": [], "compress": set(), "more": []}
    drawers = {"info": {}}
    for name in names:
        for key, value in FEATURES[name].items():
            if key == "drawers":
                drawers |= {k: v for k, v in value.items() if v or k != "info"}
            elif key in options:
                options[key] = [*options[key], *value] if key != "compress" else value
            else:
                options[key] = value
    if options["compress"]:
        options["compress"] = {"licence", "codes"}
    return options | {"drawers": drawers}


for count in (0, 1, 2):
    for chosen in combinations(FEATURES, count):
        choice = merged(chosen)
        extra = choice.pop("more")
        add("feature_" + "_and_".join(chosen or ("none",)), [TENSOR, *extra], **choice)

VALID["example"] = build(example())
VALID["example_compressed"] = build(compressed_example())
add("nothing_at_all", [])
MINOR = assemble([TENSOR])
MINOR.preamble["minor"] = 65535
VALID["minor_version_65535"] = build(MINOR)


def with_library_frame(name):
    """A tensor of bytes whose only segment is a frame with entropy coding."""
    stored, raw = library_frame(name)
    parts = assemble([("w", bytes_as({"k": "u", "b": 8}, 8), [len(raw)], {"codes": raw})])
    parts.payloads = [Payload(PLANE, stored, raw)]
    parts.preamble = {"features": 1}
    return build(parts)


for frame_name in ("english_level_19", "codes_level_3", "codes_level_1", "steps_level_9"):
    VALID[f"frame_{frame_name}"] = with_library_frame(frame_name)

# ------------------------------------------------------------------- names and shapes

add("name_of_512_bytes", [("é" * 256, *TENSOR[1:])])
add("name_of_a_prototype", [("__proto__", *TENSOR[1:]), ("constructor", *TENSOR[1:])])
add(
    "names_by_bytes_not_by_utf16",
    [("\uffee", *TENSOR[1:]), ("\U00010000", *TENSOR[1:]), ("e\u0301", *TENSOR[1:])],
)
add("rank_8", [(*SMALL, [1, 1, 2, 1, 1, 1, 3, 1], {"codes": noise(24, "rank 8")})])
add("one_weight", [(*SMALL, [1], {"codes": b"\0\0\0\x80"})])
