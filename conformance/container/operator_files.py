"""Valid files of layouts behind operators (D-23 to D-26), each by hand and not by the package."""

import struct

from conformance.container.layout_files import ELEMENTS, ONE, field, two
from conformance.container.parts import ROWS
from conformance.container.valid import VALID, add, noise

__all__ = ["BASES", "SHAPES", "SIZES", "VALID", "index"]

I8, F32 = {"k": "i", "b": 8}, ROWS["fields"]["s"]["elem"]
U2, U4, U5 = ({"k": "u", "b": bits} for bits in (2, 4, 5))
F16 = ELEMENTS["float_binary16"]
BYTE, SINGLE = {"block": [1], "bytes": 1}, [[32, 0, [], []]]


def index(*groups):
    """An index plane."""
    return struct.pack(f"<{len(groups)}i", *groups)


def floats(count):
    """Scales that are powers of two, different ones."""
    return struct.pack(f"<{count}f", *(2.0 ** (n % 7 - 3) for n in range(count)))


def scaled(block, order=None, **more):
    """Bytes with one scale for each block of the last axis, input first if an order is given."""
    turned = {"order": order} if order else {}
    codes = {"block": [1, 1] if order else [1], "bytes": 1} | turned
    return two(
        {"codes": codes, "scales": {"block": block, "bytes": 4} | turned},
        {
            "q": field("codes", I8, codes["block"], ONE),
            "s": field("scales", F32, block, SINGLE),
        },
        ["mul", "s", "q"],
        **more,
    )


GATHER = {"gather": {"index": "g_idx", "planes": ["scales"]}}
GATHERED = scaled([4], ops=GATHER)
TURNED = scaled([1, 4], [1, 0], ops=GATHER)
PERMUTED = two(
    {"codes": BYTE},
    {"q": field("codes", I8, [1], ONE)},
    "q",
    ops={"gather": {"index": "from", "planes": ["codes"]}},
)

# Two 16-bit words hold five 5-bit codes of one column and 7 bits of nobody.
WORDED = two(
    {"codes": {"block": [1, 5], "bytes": 4, "order": [1, 0]}},
    {"q": field("codes", U5, [1, 1], [[5, 0, [5], [5]]])},
    "q",
    ops={"words": {"codes": 2}},
)
WORDED_AND_GATHERED = two(
    {
        "codes": {"block": [1, 4], "bytes": 4, "order": [1, 0]},
        "scales": {"block": [2, 2], "bytes": 2, "order": [1, 0]},
    },
    {
        "q": field("codes", I8, [1, 1], [[8, 0, [4], [8]]]),
        "s": field("scales", {"k": "u", "b": 8}, [1, 2], [[8, 0, [2], [8]]]),
    },
    ["mul", "s", "q"],
    ops={"gather": {"index": "z", "planes": ["scales"]}, "words": {"codes": 4, "scales": 2}},
)
WORDS_OF_ROWS = two(
    {"codes": {"block": [2], "bytes": 2}},
    {"q": field("codes", I8, [1], [[8, 0, [2], [8]]])},
    "q",
    ops={"words": {"codes": 2}},
)

FLAT = two(
    {"codes": {"block": [2], "bytes": 1}, "scales": {"block": [8], "bytes": 2}},
    {
        "q": field("codes", U4, [1], [[4, 0, [2], [4]]]),
        "s": field("scales", F16, [8], [[16, 0, [], []]]),
    },
    ["mul", "s", ["sub", "q", 8.0]],
    ops={"view": ["flat"]},
)


def parted(group, axis, parts=4):
    """2-bit codes of four parts in a byte, and a scale for each group."""
    block = [1, 0, 1] if axis else [0, 1, 0]
    order = {"order": [2, 0, 1]} if axis else {}
    return two(
        {"codes": {"block": [parts], "bytes": 1}, "scales": {"block": block, "bytes": 4} | order},
        {
            "q": field("codes", U2, [1], [[2, 0, [parts], [2]]]),
            "s": field("scales", F32, block, SINGLE),
        },
        ["mul", "s", "q"],
        ops={"view": ["parts", group, axis, parts]},
    )


PARTS = parted(3, 1)
PARTED_COLUMNS = parted(5, 0)

BASES = {
    "gathered": GATHERED,
    "worded": WORDED,
    "flat": FLAT,
    "parts": PARTS,
}
SHAPES = {"gathered": [2, 6], "worded": [3, 10], "flat": [3, 6], "parts": [5, 3]}
SIZES = {
    "gathered": {"codes": 12, "g_idx": 24, "scales": 16},
    "worded": {"codes": 24},
    "flat": {"codes": 9, "scales": 6},
    "parts": {"codes": 6, "scales": 20},
}

GROUPS = index(1, 0, 1, 1, 0, 0)
add(
    "operator_gather",
    [("w", GATHERED, [2, 6], {"codes": noise(12, "g"), "g_idx": GROUPS, "scales": floats(4)})],
)
add(
    "operator_gather_input_first",
    [("w", TURNED, [2, 6], {"codes": noise(12, "h"), "g_idx": GROUPS, "scales": floats(4)})],
)
add(
    "operator_gather_of_3_axes",
    [("w", TURNED, [2, 2, 6], {"codes": noise(24, "i"), "g_idx": GROUPS, "scales": floats(8)})],
)
add(
    "operator_gather_one_group",
    [
        (
            "w",
            scaled([0], ops=GATHER),
            [3, 5],
            {"codes": noise(15, "j"), "g_idx": index(*[0] * 5), "scales": floats(3)},
        )
    ],
)
add(
    "operator_gather_columns",
    [("w", PERMUTED, [2, 5], {"codes": noise(10, "k"), "from": index(4, 0, 3, 3, 1)})],
)


def worded_codes(count, seed):
    """Records of five 5-bit codes in two words each, apart: those of three columns together."""
    mask = (1 << 25) - 1
    records = [int.from_bytes(noise(4, f"{seed}{n}"), "little") & mask for n in range(count)]
    rows = [records[n : n + 3] for n in range(0, count, 3)]
    words = [number >> 16 * word & 0xFFFF for row in rows for word in (0, 1) for number in row]
    return struct.pack(f"<{len(words)}H", *words)


add("operator_words", [("w", WORDED, [3, 10], {"codes": worded_codes(6, "w")})])
add(
    "operator_words_and_gather",
    [
        (
            "w",
            WORDED_AND_GATHERED,
            [4, 8],
            {
                "codes": noise(32, "x"),
                "scales": noise(16, "y"),
                "z": index(3, 0, 0, 2, 1, 3, 2, 0),
            },
        )
    ],
)
add("operator_words_of_rows", [("w", WORDS_OF_ROWS, [3, 4], {"codes": noise(12, "rows")})])
add(
    "operator_flat",
    [("w", FLAT, [3, 6], {"codes": noise(9, "flat"), "scales": struct.pack("<3e", 1, -0.5, 6)})],
)
# Five rows of three weights in four parts of two rows: rows 5 to 7 fill up.
FILLED = bytes(b & (0x3F if n < 3 else 0x0F) for n, b in enumerate(noise(6, "p")))
add("operator_parts", [("w", PARTS, [5, 3], {"codes": FILLED, "scales": floats(5)})])
add(
    "operator_parts_equal",
    [("w", PARTS, [2, 4, 3], {"codes": noise(6, "q"), "scales": floats(8)})],
)
add(
    "operator_parts_of_columns",
    [
        (
            "w",
            PARTED_COLUMNS,
            [5, 3],
            {"codes": FILLED, "scales": floats(3)},
        )
    ],
)
