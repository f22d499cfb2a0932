"""Files that every reader must accept: each feature alone, features in pairs, every layout."""

import struct
from hashlib import shake_128
from itertools import combinations
from math import lcm
from pathlib import Path

from conformance.container.byte_defects import bytes_as
from conformance.container.frames import library_frame
from conformance.container.layout_defects import TABLED, TURNED
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
    """Register a valid file of the given tensors."""
    VALID[name] = build(assemble(tensors, **options))


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

# ------------------------------------------------------------------- element kinds

ELEMENTS = {
    **{f"unsigned_{n}": {"k": "u", "b": n} for n in (1, 2, 3, 5, 7, 8, 12, 16, 23, 24)},
    **{f"signed_{n}": {"k": "i", "b": n} for n in (2, 3, 4, 8, 15, 16, 24)},
    **{
        f"float_{name}": dict(zip(("k", "s", "e", "m", "bias", "sp"), ("f", *form), strict=True))
        for name, form in {
            "e2m1": (1, 2, 1, 1, "none"),
            "e2m3": (1, 2, 3, 1, "none"),
            "e3m2": (1, 3, 2, 3, "none"),
            "e3m0": (1, 3, 0, 3, "ieee"),
            "e4m3": (1, 4, 3, 7, "ieee"),
            "e4m3fn": (1, 4, 3, 7, "fn"),
            "e4m3fnuz": (1, 4, 3, 8, "fnuz"),
            "e4m3b11fnuz": (1, 4, 3, 11, "fnuz"),
            "e5m2": (1, 5, 2, 15, "ieee"),
            "e8m0": (0, 8, 0, 127, "e8m0"),
            "e8m0_subnormal": (0, 8, 0, 149, "e8m0"),
            "ue4m4": (0, 4, 4, 7, "fn"),
            "binary16": (1, 5, 10, 15, "ieee"),
            "bfloat16": (1, 8, 7, 127, "ieee"),
            "e6m9": (1, 6, 9, 31, "none"),
        }.items()
    },
}


def width(element):
    """Bits of one code."""
    return element["b"] if element["k"] != "f" else element["s"] + element["e"] + element["m"]


def stream(codes, bits):
    """Codes of `bits` bits one after another, in records of 8 codes."""
    number = sum(code << (bits * i) for i, code in enumerate(codes))
    return number.to_bytes(len(codes) * bits // 8, "little")


for element_name, element in ELEMENTS.items():
    bits = width(element)
    # Every code where there are at most 256, else the smallest, the largest and others.
    every = list(range(1 << bits)) if bits <= 8 else None
    chosen = every or [
        *(n % (1 << bits) for n in (0, 1, -1, 1 << (bits - 1), (1 << (bits - 1)) - 1)),
        *(
            int.from_bytes(noise(3, f"{element_name}{i}"), "little") % (1 << bits)
            for i in range(59)
        ),
    ]
    chosen = (chosen * 8)[: max(len(chosen), 8)]
    layout = bytes_as(element, bits, count=8, size=bits)
    add(f"element_{element_name}", [("w", layout, [len(chosen)], {"codes": stream(chosen, bits)})])

SPECIAL = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0xFFC12345]
add(
    "element_binary32",
    [(*SMALL, [18], {"codes": struct.pack("<18I", *SPECIAL, *(n ^ 1 << 31 for n in SPECIAL))})],
)


def digits(base, count):
    """Every byte that holds digits of a base."""
    whole = base**count
    layout = bytes_as({"k": "d", "base": base, "n": count}, 8)
    layout["planes"]["codes"]["block"] = [count]
    data = bytes(-(-n * 256 // whole) for n in range(whole))
    return [("w", layout, [len(data) * count], {"codes": data})]


for base, count in ((2, 8), (3, 5), (3, 1), (5, 3), (6, 3), (16, 2)):
    add(f"element_digits_{base}_to_{count}", digits(base, count))

# ------------------------------------------------------------------- blocks, orders, tables


def field(plane, element, over, *pieces):
    """A field as data."""
    return {"plane": plane, "elem": element, "over": list(over), "at": list(pieces)}


def two(plane, fields, value, **more):
    """A layout whose planes and fields are given."""
    return {"rqd": 1, "planes": plane, "fields": fields, "value": value} | more


U4, U8, F16 = {"k": "u", "b": 4}, {"k": "u", "b": 8}, ELEMENTS["float_binary16"]
ONE = [[8, 0, [], []]]
add("table_of_16", [("w", TABLED, [9], {"codes": bytes(range(16, 0xB0, 32))})])
add(
    "table_of_2",
    [
        (
            "w",
            two(
                {"codes": {"block": [8], "bytes": 1}},
                {"q": field("codes", {"k": "u", "b": 1}, [1], [[1, 0, [8], [1]]])},
                ["lut", "t", "q"],
                tables={"t": struct.pack("<2f", -1.5, 3e38)},
            ),
            [12],
            {"codes": b"\xa5\x0f"},
        )
    ],
)
add("order_of_columns", [("w", TURNED, [3, 20], {"codes": noise(36, "columns")})])
AWQ = two(
    {
        "codes": {"block": [8, 1], "bytes": 4, "order": [1, 0]},
        "scale": {"block": [1, 4], "bytes": 2, "order": [1, 0]},
    },
    {
        "q": field("codes", U4, [1, 1], [[4, 0, [4, 2], [4, 16]]]),
        "s": field("scale", ELEMENTS["float_bfloat16"], [1, 4], [[16, 0, [], []]]),
    },
    ["mul", "s", ["sub", "q", 8.0]],
)
add("order_of_awq", [("w", AWQ, [16, 6], {"codes": noise(48, "awq"), "scale": noise(64, "awq2")})])
add(
    "order_of_3_axes",
    [
        (
            "w",
            two(
                {"codes": {"block": [1, 2, 1], "bytes": 1, "order": [2, 0, 1]}},
                {"q": field("codes", U4, [1, 1, 1], [[4, 0, [2], [4]]])},
                "q",
            ),
            [2, 2, 3, 4],
            {"codes": noise(32, "order 3")},
        )
    ],
)
add(
    "tiles_with_ragged_edges",
    [
        (
            "w",
            two(
                {"codes": {"block": [2, 3], "bytes": 6}, "scale": {"block": [4, 6], "bytes": 2}},
                {
                    "q": field("codes", U8, [1, 1], [[8, 0, [2, 3], [24, 8]]]),
                    "s": field("scale", F16, [4, 6], [[16, 0, [], []]]),
                },
                ["mul", "q", "s"],
            ),
            [5, 7],
            {"codes": noise(54, "tiles"), "scale": noise(8, "tiles 2")},
        )
    ],
)
add(
    "per_tensor_scale",
    [
        (
            "w",
            two(
                {"codes": {"block": [1], "bytes": 1}, "scale": {"block": [0] * 8, "bytes": 4}},
                {
                    "q": field("codes", {"k": "i", "b": 8}, [1], ONE),
                    "s": field(
                        "scale", SMALL[1]["fields"]["q"]["elem"], [0] * 8, [[32, 0, [], []]]
                    ),
                },
                ["mul", "s", "q"],
            ),
            [2, 5],
            {"codes": noise(10, "tensor"), "scale": struct.pack("<f", 1e-45)},
        )
    ],
)
add(
    "block_beyond_the_axis",
    [
        (
            "w",
            two(
                {"codes": {"block": [1], "bytes": 1}, "scale": {"block": [2**40], "bytes": 1}},
                {"q": field("codes", U8, [1], ONE), "s": field("scale", U8, [2**40], ONE)},
                ["add", "q", "s"],
            ),
            [5],
            {"codes": noise(5, "beyond"), "scale": b"\x09"},
        )
    ],
)
add(
    "joined_slices_and_short_pieces",
    [
        (
            "w",
            two(
                {"all": {"block": [4], "bytes": 4}},
                {
                    "q": field(
                        "all",
                        {"k": "i", "b": 9},
                        [1],
                        [[4, 0, [2], [4]], [3, 8, [2], [3]], [2, 14, [2], [2]]],
                        [[5, 18, [2], [5]], [2, 28, [2], [2]]],
                    )
                },
                "q",
            ),
            [8],
            {"all": noise(8, "join")},
        )
    ],
)
add(
    "slice_at_odd_bits_across_bytes",
    [
        (
            "w",
            two(
                {"all": {"block": [3], "bytes": 11}},
                {"q": field("all", {"k": "u", "b": 23}, [1], [[23, 5, [3], [27]]])},
                "q",
            ),
            [7],
            {
                "all": b"".join(
                    (
                        int.from_bytes(noise(11, f"odd {i}"), "little")
                        & sum(((1 << 23) - 1) << (5 + 27 * j) for j in range(3))
                    ).to_bytes(11, "little")
                    for i in range(3)
                )
            },
        )
    ],
)
add(
    "fields_that_share_bits",
    [
        (
            "w",
            two(
                {"all": {"block": [2], "bytes": 1}},
                {
                    "q": field("all", U4, [1], [[4, 0, [2], [4]]]),
                    "r": field("all", U8, [2], ONE),
                },
                ["sub", "q", ["mul", "r", 0.5]],
            ),
            [10],
            {"all": noise(5, "share")},
        )
    ],
)
add(
    "slice_with_stride_0",
    [
        (
            "w",
            two(
                {"all": {"block": [4], "bytes": 1}},
                {"q": field("all", U8, [1], [[8, 0, [4], [0]]])},
                "q",
            ),
            [6],
            {"all": b"\x03\xfe"},
        )
    ],
)
DEEP = ["mul", "q", 1.5]
for step in range(5):
    DEEP = [("add", "sub", "mul")[step % 3], DEEP, (16777216.0, -0.1875, 1e-40 * 0 + 2.0)[step % 3]]
add(
    "formula_7_deep",
    [
        (
            "w",
            two({"codes": {"block": [1], "bytes": 1}}, {"q": field("codes", U8, [1], ONE)}, DEEP),
            [9],
            {"codes": noise(9, "deep")},
        )
    ],
)
NAN_MAKERS = two(
    {"codes": {"block": [1], "bytes": 4}},
    {
        "h": field("codes", F16, [1], [[16, 0, [], []]]),
        "b": field("codes", ELEMENTS["float_bfloat16"], [1], [[16, 16, [], []]]),
    },
    ["sub", ["mul", "h", "b"], ["mul", "b", ["mul", "h", 2.0]]],
)
SPECIALS_16 = b"\0\0 \0\x80 \0\x7c \0\xfc \1\x7c \xff\xff \0\x3c \1\0".split(b" ")
SPECIALS_B = b"\0\0 \0\x80 \x80\x7f \x80\xff \x81\x7f \xff\xff \x80\x3f \1\0".split(b" ")
add(
    "infinities_and_nan_in_a_formula",
    [
        (
            "w",
            NAN_MAKERS,
            [8, 8],
            {"codes": b"".join(h + b for h in SPECIALS_16 for b in SPECIALS_B)},
        )
    ],
)
add(
    "weights_65536_of_a_byte",
    [
        (
            "w",
            two({"all": {"block": [0, 0], "bytes": 1}}, {"q": field("all", U8, [0, 0], ONE)}, "q"),
            [256, 256],
            {"all": b"\x2a"},
        )
    ],
)

# ------------------------------------------------------------------- registered schemes


def fitting_shape(layout, group=()):
    """The smallest matrix (or more axes) of whole blocks, with a few rows."""
    extents = [plane.block for plane in layout.planes.values()] + [tuple(group)]
    rank = max(2, *(len(e) for e in extents if any(e)), 0)
    shape = []
    for axis in range(-rank, 0):
        given = [e[axis] for e in extents if len(e) >= -axis and e[axis]]
        shape.append(lcm(*given) if given else 1)
    shape[-1] = shape[-1] if shape[-1] > 1 else 7
    shape[0] = shape[0] if shape[0] > 1 else 2
    return shape


def lawful(layout, plane, data):
    """Noise without spare bits, its bytes of digits replaced by such that are digits."""
    from refquant.layout import Digits

    size = layout.planes[plane].bytes
    mask = layout.spare_bits(plane)
    changed = bytearray(b & ~int(mask[i % size]) for i, b in enumerate(data))
    for found in layout.fields.values():
        if found.plane == plane and isinstance(found.element, Digits):
            whole = found.element.base**found.element.count
            for start in range(0, len(data), size):
                for run in (run for piece in found.pieces for run in piece):
                    for place in run.starts():
                        at = start + place // 8
                        changed[at] = -(-(changed[at] * whole // 256) * 256 // whole)
    return bytes(changed)


NAMES = Path(__file__).parent / "scheme_names.txt"


def scheme_names():
    """Every registered scheme, some with several knobs; a test asks for those that are missing."""
    return NAMES.read_text("utf-8").split()


def record_schemes():
    """Add the names of schemes that have been registered since, and their files."""
    import refquant

    names = scheme_names()
    names += [found.name for found in refquant.schemes() if found.name not in names]
    NAMES.write_text("".join(f"{name}\n" for name in names), "utf-8")
    add_schemes()


def scheme_file(name, axis=-1):
    """A tensor of lawful noise under a registered scheme, perhaps turned to another axis."""
    import refquant

    scheme = refquant.scheme(name)
    shape = fitting_shape(scheme.layout, scheme.group)
    layout = scheme.layout
    if axis == 0:
        layout = layout.along(0, 2)
        shape = [shape[1], 3]
    planes = {
        plane: lawful(layout, plane, noise(layout.plane_nbytes(plane, tuple(shape)), plane))
        for plane in layout.planes
    }
    from refquant import mp1

    description = mp1.decode(mp1.encode(layout.describe()))
    drawers = {"info": {"labels": [name]}}
    return build(assemble([("w", description, shape, planes)], drawers=drawers))


def add_schemes():
    """Register the files of all registered schemes."""
    for name in scheme_names():
        plain = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        VALID[f"scheme_{plain}"] = scheme_file(name)
    for name in ("int/affine[bits=4,sym,group=32]", "ggml/q4_k", "aeq/int8[sym,channel]"):
        plain = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        VALID[f"turned_{plain}"] = scheme_file(name, axis=0)


add_schemes()
