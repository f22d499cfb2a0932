"""Files whose only defect is in the description of a layout (chapter 5)."""

import struct

from conformance.container.byte_defects import DEFECTS
from conformance.container.parts import Q4_0, ROWS, assemble, build

F16 = {"k": "f", "s": 1, "e": 5, "m": 10, "bias": 15, "sp": "ieee"}
TABLED = {
    "rqd": 1,
    "planes": {"codes": {"block": [2], "bytes": 1}},
    "fields": {
        "q": {
            "plane": "codes",
            "elem": {"k": "u", "b": 4},
            "over": [1],
            "at": [[[4, 0, [2], [4]]]],
        }
    },
    "tables": {"t": struct.pack("<16f", *range(-8, 8))},
    "value": ["lut", "t", "q"],
}
TURNED = {
    "rqd": 1,
    "planes": {"codes": {"block": [1, 8], "bytes": 4, "order": [1, 0]}},
    "fields": {
        "q": {
            "plane": "codes",
            "elem": {"k": "u", "b": 4},
            "over": [1, 1],
            "at": [[[4, 0, [8], [4]]]],
        }
    },
    "value": "q",
}
SHAPES = {"q4_0": [2, 32], "rows": [2, 3], "tabled": [8], "turned": [2, 16]}
BASES = {"q4_0": Q4_0, "rows": ROWS, "tabled": TABLED, "turned": TURNED}
SIZES = {
    "q4_0": {"blocks": 36},
    "rows": {"codes": 6, "scales": 8},
    "tabled": {"codes": 4},
    "turned": {"codes": 16},
}


def layout_defect(name, code, base, *path, value=..., shape=None):
    """Register a file whose layout has `value` at `path`, or nothing there if none is given."""

    def make():
        planes = {plane: bytes(size) for plane, size in SIZES[base].items()}
        parts = assemble([("w", BASES[base], shape or SHAPES[base], planes)])
        *way, last = path
        place = parts.header["core"]["schemes"][0]
        for step in way:
            place = place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        return build(parts)

    DEFECTS[f"layout_{name}"] = (code, "open", make)


Q = ("fields", "q")
ELEM = ("fields", "q", "elem")
AT = ("fields", "q", "at")
SLICE = ("fields", "q", "at", 0, 0)
D_SLICE = ("fields", "d", "at", 0, 0)
PLANE = ("planes", "codes")
FLOAT = {"k": "f", "s": 1, "e": 4, "m": 3, "bias": 7, "sp": "fn"}


def deep(levels):
    """A formula of as many levels."""
    return "q" if levels == 1 else ["add", deep(levels - 1), 1.0]


def wide(levels):
    """A formula of 2^levels - 1 nodes."""
    return "q" if levels == 1 else ["add", wide(levels - 1), wide(levels - 1)]


# Types and keys
layout_defect("without_planes_key", "E_SCHEMA_MISSING", "rows", "planes")
layout_defect("without_value", "E_SCHEMA_MISSING", "rows", "value")
layout_defect("unknown_key", "E_SCHEMA_UNKNOWN", "rows", "label", value="q8")
layout_defect("version_0", "E_DESC_VERSION", "rows", "rqd", value=0)
layout_defect("version_true", "E_DESC_VERSION", "rows", "rqd", value=True)
layout_defect("planes_empty", "E_SCHEMA_EMPTY", "rows", "planes", value={})
layout_defect("fields_empty", "E_SCHEMA_EMPTY", "rows", "fields", value={})
layout_defect("tables_empty", "E_SCHEMA_EMPTY", "rows", "tables", value={})
layout_defect("planes_an_array", "E_SCHEMA_TYPE", "rows", "planes", value=[])
layout_defect("plane_an_array", "E_SCHEMA_TYPE", "rows", *PLANE, value=[])
layout_defect("plane_with_label", "E_SCHEMA_UNKNOWN", "rows", *PLANE, "label", value="x")
layout_defect("plane_without_bytes", "E_SCHEMA_MISSING", "rows", *PLANE, "bytes")
layout_defect("bytes_a_float", "E_SCHEMA_TYPE", "rows", *PLANE, "bytes", value=1.0)
layout_defect("block_a_number", "E_SCHEMA_TYPE", "rows", *PLANE, "block", value=1)
layout_defect("block_of_floats", "E_SCHEMA_TYPE", "rows", *PLANE, "block", value=[1.0])
layout_defect("field_without_over", "E_SCHEMA_MISSING", "rows", *Q, "over")
layout_defect("field_unknown_key", "E_SCHEMA_UNKNOWN", "rows", *Q, "bits", value=8)
layout_defect("field_plane_a_number", "E_SCHEMA_TYPE", "rows", *Q, "plane", value=0)
layout_defect("pieces_a_map", "E_SCHEMA_TYPE", "rows", *AT, value={})
layout_defect("piece_a_number", "E_SCHEMA_TYPE", "rows", *AT, value=[8])
layout_defect("piece_empty", "E_SCHEMA_TYPE", "rows", *AT, value=[[]])
layout_defect("piece_of_9_slices", "E_SCHEMA_TYPE", "rows", *AT, value=[[[1, 0, [], []]] * 9])
layout_defect("slice_of_3", "E_SCHEMA_TYPE", "rows", *SLICE, value=[8, 0, []])
layout_defect("slice_bits_a_string", "E_SCHEMA_TYPE", "rows", *SLICE, value=["8", 0, [], []])
layout_defect("pieces_none", "E_LIMIT", "rows", *AT, value=[])
layout_defect("pieces_65", "E_LIMIT", "rows", *AT, value=[[[8, 0, [], []]]] * 65)
layout_defect(
    "planes_17",
    "E_LIMIT",
    "rows",
    "planes",
    value={f"p{n:02}": {"block": [1], "bytes": 1} for n in range(17)},
)
layout_defect(
    "fields_17",
    "E_LIMIT",
    "rows",
    "fields",
    value={f"f{n:02}": ROWS["fields"]["q"] for n in range(17)},
)

# Elements
layout_defect("element_unknown_kind", "E_DESC_ELEM", "rows", *ELEM, "k", value="z")
layout_defect("element_without_kind", "E_DESC_ELEM", "rows", *ELEM, "k")
layout_defect("element_kind_a_number", "E_DESC_ELEM", "rows", *ELEM, "k", value=1)
layout_defect("element_a_string", "E_SCHEMA_TYPE", "rows", *ELEM, value="u8")
layout_defect("element_without_width", "E_SCHEMA_MISSING", "rows", *ELEM, "b")
layout_defect("element_width_a_float", "E_SCHEMA_TYPE", "rows", *ELEM, "b", value=8.0)
layout_defect("element_with_sign", "E_SCHEMA_UNKNOWN", "rows", *ELEM, "s", value=1)
for bits in (0, 25, 65, -8):
    layout_defect(
        f"unsigned_of_{bits}_bits", "E_DESC_ELEM", "rows", *ELEM, value={"k": "u", "b": bits}
    )
for bits in (1, 25):
    layout_defect(
        f"signed_of_{bits}_bits", "E_DESC_ELEM", "rows", *ELEM, value={"k": "i", "b": bits}
    )
for name, change in {
    "of_7_bits": {"m": 2},
    "specials_unknown": {"sp": "inf"},
    "specials_a_number": {"sp": 1},
    "sign_2": {"s": 2, "m": 2},
    "exponent_0": {"e": 0, "m": 7},
    "exponent_9": {"s": 0, "e": 9, "m": 7},
    "mantissa_negative": {"s": 1, "e": 8, "m": -1},
    "values_too_large": {"bias": -113},
    "values_too_small": {"bias": 148},
    "exponent_2_to_52": {"s": -(2**52), "e": 2**52, "m": 8},
    "exponent_negative": {"e": -1, "m": 8},
    "bare_exponent_with_sign": {"s": 1, "e": 7, "m": 0, "sp": "e8m0"},
    "of_32_bits_with_another_bias": {"s": 1, "e": 8, "m": 23, "bias": 128, "sp": "ieee"},
}.items():
    layout_defect(f"float_{name}", "E_DESC_ELEM", "rows", *ELEM, value=FLOAT | change)
for base, count in ((1, 5), (17, 1), (3, 0), (3, 6), (2, 9), (16, 3)):
    value = {"k": "d", "base": base, "n": count}
    layout_defect(f"digits_{base}_to_{count}", "E_DESC_ELEM", "rows", *ELEM, value=value)

# Planes, blocks and slices
layout_defect("block_negative", "E_DESC_BLOCK", "rows", *PLANE, "block", value=[-1])
layout_defect("block_beyond_2_to_40", "E_DESC_BLOCK", "rows", *PLANE, "block", value=[2**40 + 1])
layout_defect("block_of_9_axes", "E_DESC_BLOCK", "rows", *PLANE, "block", value=[2] * 9)
layout_defect("block_empty", "E_DESC_BLOCK", "rows", *PLANE, "block", value=[])
layout_defect("block_with_an_axis_to_spare", "E_DESC_BLOCK", "rows", *PLANE, "block", value=[1, 1])
layout_defect("record_of_0_bytes", "E_DESC_BLOCK", "rows", *PLANE, "bytes", value=0)
layout_defect("record_of_65537_bytes", "E_DESC_BLOCK", "rows", *PLANE, "bytes", value=65537)
layout_defect("over_does_not_divide", "E_DESC_BLOCK", "q4_0", *Q, "over", value=[3])
layout_defect("over_0_in_a_block", "E_DESC_BLOCK", "q4_0", *Q, "over", value=[0])
layout_defect("over_larger_than_block", "E_DESC_BLOCK", "q4_0", *Q, "over", value=[64])
layout_defect("over_of_2_axes", "E_DESC_RANK", "q4_0", *Q, "over", value=[1, 1])
layout_defect("order_repeats", "E_DESC_PERM", "turned", *PLANE, "order", value=[1, 1])
layout_defect("order_of_nothing_moved", "E_DESC_PERM", "turned", *PLANE, "order", value=[0, 1])
layout_defect("order_too_short", "E_DESC_PERM", "turned", *PLANE, "order", value=[0])
layout_defect("order_out_of_range", "E_DESC_PERM", "turned", *PLANE, "order", value=[2, 0])
layout_defect("order_negative", "E_DESC_BLOCK", "turned", *PLANE, "order", value=[-1, 0])
layout_defect("slice_of_0_bits", "E_DESC_BLOCK", "rows", *SLICE, 0, value=0)
layout_defect("slice_of_33_bits", "E_DESC_BLOCK", "rows", *SLICE, 0, value=33)
layout_defect("slice_base_negative", "E_DESC_BLOCK", "rows", *SLICE, 1, value=-1)
layout_defect("slice_stride_negative", "E_DESC_BLOCK", "q4_0", *SLICE, 3, value=[4, -8])
layout_defect("slice_extent_0", "E_DESC_BLOCK", "q4_0", *SLICE, 2, value=[0, 16])
layout_defect("slice_strides_too_few", "E_DESC_SLICE", "q4_0", *SLICE, 3, value=[4])
layout_defect("slice_leaves_the_record", "E_DESC_SLICE", "q4_0", *SLICE, 1, value=17)
layout_defect("slice_wider_than_the_element", "E_DESC_SLICE", "q4_0", *ELEM, "b", value=3)
layout_defect("slice_of_too_few_codes", "E_DESC_SLICE", "q4_0", *SLICE, 2, value=[2, 8])
layout_defect("slice_of_too_many_codes", "E_DESC_SLICE", "rows", *SLICE, value=[4, 0, [2], [4]])
layout_defect(
    "slice_counts_beyond_64_bits",
    "E_DESC_SLICE",
    "rows",
    *SLICE,
    value=[1, 0, [2**19] * 8, [0] * 8],
)
layout_defect(
    "joined_slices_differ",
    "E_DESC_SLICE",
    "q4_0",
    *AT,
    value=[[[2, 16, [2, 16], [4, 8]], [2, 18, [16], [8]]]],
)
layout_defect(
    "digits_in_nibbles", "E_DESC_SLICE", "tabled", *ELEM, value={"k": "d", "base": 3, "n": 1}
)
layout_defect("plane_absent", "E_DESC_EXPR", "rows", *Q, "plane", value="other")


def shares_do_not_divide():
    """Scales of 2 weights beside scales of 3."""
    fields = {
        name: {"plane": name, "elem": {"k": "u", "b": 8}, "over": [n], "at": [[[8, 0, [], []]]]}
        for name, n in (("a", 2), ("b", 3))
    }
    planes = {"a": {"block": [2], "bytes": 1}, "b": {"block": [3], "bytes": 1}}
    layout = {"rqd": 1, "planes": planes, "fields": fields, "value": ["mul", "a", "b"]}
    return build(assemble([("w", layout, [6], {"a": bytes(3), "b": bytes(2)})]))


DEFECTS["layout_shares_do_not_divide"] = ("E_DESC_BLOCK", "open", shares_do_not_divide)

# Runs that meet
layout_defect("stride_0", "E_DESC_OVERLAP", "q4_0", *SLICE, 3, value=[4, 0])
layout_defect("runs_overlap", "E_DESC_OVERLAP", "q4_0", *SLICE, 3, value=[3, 8])
layout_defect("fields_share_a_bit", "E_DESC_OVERLAP", "q4_0", *SLICE, 1, value=15)
layout_defect("fields_share_all_bits", "E_DESC_OVERLAP", "q4_0", *D_SLICE, 1, value=16)

# Formulas and tables
layout_defect("operator_unknown", "E_DESC_OP", "rows", "value", value=["pow", "s", "q"])
layout_defect("quotient_of_3", "E_DESC_EXPR", "rows", "value", value=["div", "s", "q", "q"])
layout_defect("quotient_of_1", "E_DESC_EXPR", "rows", "value", value=["div", "q"])
layout_defect("operator_of_3", "E_DESC_EXPR", "rows", "value", value=["mul", "s", "q", "q"])
layout_defect("operator_of_1", "E_DESC_EXPR", "rows", "value", value=["mul", "q"])
layout_defect("formula_empty", "E_DESC_EXPR", "rows", "value", value=[])
layout_defect(
    "formula_an_integer", "E_DESC_EXPR", "rows", "value", value=["mul", ["mul", "s", "q"], 2]
)
layout_defect("formula_a_bool", "E_DESC_EXPR", "rows", "value", value=True)
layout_defect("formula_names_nobody", "E_DESC_EXPR", "rows", "value", value=["mul", "s", "z"])
layout_defect("formula_9_deep", "E_DESC_EXPR", "rows", "value", value=["mul", "s", deep(8)])
layout_defect("formula_of_65_nodes", "E_DESC_EXPR", "rows", "value", value=["mul", "s", wide(6)])
layout_defect(
    "constant_no_binary32", "E_DESC_EXPR", "rows", "value", value=["mul", ["mul", "s", "q"], 0.1]
)
layout_defect(
    "constant_too_large", "E_DESC_EXPR", "rows", "value", value=["mul", ["mul", "s", "q"], 1e39]
)
layout_defect("field_unused", "E_DESC_UNUSED", "rows", "value", value="q")
layout_defect(
    "plane_unused", "E_DESC_UNUSED", "rows", "planes", "spare", value={"block": [1], "bytes": 1}
)
layout_defect("table_unused", "E_DESC_UNUSED", "tabled", "value", value="q")
layout_defect("table_absent", "E_DESC_EXPR", "tabled", "value", value=["lut", "u", "q"])
layout_defect("table_index_signed", "E_DESC_EXPR", "tabled", *ELEM, "k", value="i")
layout_defect(
    "table_operands", "E_DESC_EXPR", "tabled", "value", value=["lut", "t", ["add", "q", "q"]]
)
layout_defect("table_too_short", "E_DESC_TABLE", "tabled", "tables", "t", value=bytes(60))
layout_defect("table_too_long", "E_DESC_TABLE", "tabled", "tables", "t", value=bytes(68))
layout_defect("table_no_binary32", "E_DESC_TABLE", "tabled", "tables", "t", value=bytes(63))
layout_defect("table_empty", "E_DESC_TABLE", "tabled", "tables", "t", value=b"")
layout_defect(
    "table_with_nan", "E_DESC_TABLE", "tabled", "tables", "t", value=bytes(60) + b"\0\0\xc0\x7f"
)
layout_defect("table_of_numbers", "E_SCHEMA_TYPE", "tabled", "tables", "t", value=[1.0] * 16)


def whole_axes(size, shape, order=None):
    """One record for a whole tensor of any size."""
    axes = len(order or (0,))
    plane = {"block": [0] * axes, "bytes": size} | ({"order": order} if order else {})
    at = [[[8 * size, 0, [], []]]]
    elem = {"k": "u", "b": 8 * size}
    field = {"plane": "all", "elem": elem, "over": [0] * axes, "at": at}
    layout = {"rqd": 1, "planes": {"all": plane}, "fields": {"q": field}, "value": "q"}
    return lambda: build(assemble([("w", layout, shape, {"all": bytes(size)})]))


DEFECTS["weights_without_bytes"] = ("E_LIMIT", "open", whole_axes(1, [2**40]))
DEFECTS["weights_65537_of_a_byte"] = ("E_LIMIT", "open", whole_axes(1, [65537]))
DEFECTS["order_of_more_axes_than_the_tensor"] = (
    "E_DESC_RANK",
    "open",
    whole_axes(1, [5], [2, 0, 1]),
)
