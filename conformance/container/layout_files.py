"""Valid files of layouts: every kind of element, order, table, formula and ragged edge."""

import struct

from conformance.container.byte_defects import bytes_as
from conformance.container.layout_defects import TABLED, TURNED
from conformance.container.valid import SMALL, VALID, add, noise

__all__ = ["ELEMENTS", "VALID", "width"]

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
VECTORS = two(
    {"codes": {"block": [8], "bytes": 1}},
    {
        "q": field("codes", {"k": "u", "b": 2}, [4], [[2, 0, [2], [2]]]),
        "s": field("codes", {"k": "i", "b": 2}, [2], [[1, 4, [4], [1]]]),
    },
    ["add", ["lut", "t", "q"], "s"],
    tables={"t": struct.pack("<16f", *(i * i - 7.5 for i in range(16)))},
)
add("table_of_vectors", [("w", VECTORS, [2, 2, 15], {"codes": noise(8, "vectors")})])
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
QUOTIENTS = two(
    {"codes": {"block": [1], "bytes": 8}},
    {
        "a": field("codes", SMALL[1]["fields"]["q"]["elem"], [1], [[32, 0, [], []]]),
        "b": field("codes", SMALL[1]["fields"]["q"]["elem"], [1], [[32, 32, [], []]]),
    },
    ["div", "a", "b"],
)
# Zeros, infinities, NaN, thirds, the ends of the range, and quotients that are subnormal or ties
# of subnormals.
DIVIDED = [
    *(0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x80000003),
    *(0x3F800000, 0xC0400000, 0x007FFFFF, 0x00800001, 0x00C00000, 0x7F7FFFFF, 0xFF7FFFFE),
    *(0x40000000, 0x4B7FFFFF, 0x4B800001, 0x3F7FFFFF, 0x42FE0001, 0xBFFFFFFF),
]
add(
    "quotients",
    [
        (
            "w",
            QUOTIENTS,
            [len(DIVIDED), len(DIVIDED)],
            {"codes": b"".join(struct.pack("<2I", a, b) for a in DIVIDED for b in DIVIDED)},
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
FIVES = two(
    {"codes": {"block": [4, 12], "bytes": 13}},
    {
        "t": field("codes", {"k": "d", "base": 3, "n": 5}, [1, 1], [[8, 0, [10], [8]]]),
        "s": field("codes", {"k": "i", "b": 3}, [4, 6], [[3, 80, [2], [3]]]),
        "z": field("codes", {"k": "u", "b": 6}, [2, 12], [[6, 86, [2], [6]]]),
    },
    ["mul", "s", ["sub", "t", "z"]],
)


def lawful_fives(count, name):
    """Records of noise whose first ten bytes are digits and whose last six bits are 0."""
    for i in range(count):
        record = noise(13, f"{name} {i}")
        yield bytes(-(-(b * 243 // 256) * 256 // 243) for b in record[:10]) + record[10:12]
        yield bytes([record[12] & 3])


add("digits_to_spare", [("w", FIVES, [4, 12], {"codes": b"".join(lawful_fives(1, "spare"))})])
add(
    "digits_with_ragged_edges",
    [("w", FIVES, [2, 9, 13], {"codes": b"".join(lawful_fives(12, "ragged"))})],
)
