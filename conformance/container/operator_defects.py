"""Files whose only defect is in `ops`, in the bit that announces it, or in a plane behind it."""

import copy
import struct

from conformance.container.byte_defects import DEFECTS
from conformance.container.layout_files import VECTORS
from conformance.container.operator_files import (
    BASES,
    GATHERED,
    PARTS,
    SHAPES,
    SIZES,
    index,
    parted,
    scaled,
)
from conformance.container.parts import assemble, build

__all__ = ["DEFECTS"]


def operator_defect(name, code, base, *path, value=...):
    """Register a file whose `ops` have `value` at `path`, or nothing there if none is given."""

    def make():
        planes = {plane: bytes(size) for plane, size in SIZES[base].items()}
        parts = assemble([("w", BASES[base], SHAPES[base], planes)])
        *way, last = ("ops", *path)
        place = parts.header["core"]["schemes"][0]
        for step in way:
            place = place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        return build(parts)

    DEFECTS[f"ops_{name}"] = (code, "open", make)


def file_defect(name, code, when, layout, shape, planes, features=4):
    """Register a file of one tensor with these planes."""

    def make():
        parts = assemble([("w", layout, shape, planes)])
        parts.preamble["features"] = features
        return build(parts)

    DEFECTS[name] = (code, when, make)


# The map
operator_defect("empty", "E_SCHEMA_EMPTY", "flat", value={})
operator_defect("an_array", "E_SCHEMA_TYPE", "flat", value=["view"])
operator_defect("unknown", "E_DESC_OPS", "flat", "hadamard", value=8)
operator_defect("view_beside_words", "E_DESC_OPS", "worded", "view", value=["flat"])

# Views
operator_defect("view_a_map", "E_SCHEMA_TYPE", "flat", "view", value={"flat": True})
operator_defect("view_of_nothing", "E_SCHEMA_TYPE", "flat", "view", value=[])
operator_defect("view_a_number", "E_SCHEMA_TYPE", "flat", "view", value=[1, 2])
operator_defect("view_unknown", "E_DESC_OPS", "flat", "view", value=["square"])
operator_defect("flat_with_a_number", "E_DESC_OPS", "flat", "view", value=["flat", 8])
operator_defect("parts_of_2_numbers", "E_DESC_OPS", "parts", "view", value=["parts", 3, 1])
operator_defect("parts_a_float", "E_SCHEMA_TYPE", "parts", "view", value=["parts", 3.0, 1, 4])
for name, numbers in {
    "group_0": [0, 1, 4],
    "group_too_large": [(1 << 40) + 1, 1, 4],
    "axis_2": [3, 2, 4],
    "axis_negative": [3, -1, 4],
    "1_part": [3, 1, 1],
    "65_parts": [3, 1, 65],
}.items():
    operator_defect(f"parts_{name}", "E_DESC_OPS", "parts", "view", value=["parts", *numbers])
operator_defect(
    "parts_of_no_whole_groups", "E_DESC_RANK", "parts", "view", value=["parts", 4, 1, 4]
)

# Words
operator_defect("words_empty", "E_SCHEMA_EMPTY", "worded", "words", value={})
operator_defect("words_an_array", "E_SCHEMA_TYPE", "worded", "words", value=["codes"])
operator_defect("words_a_float", "E_SCHEMA_TYPE", "worded", "words", "codes", value=2.0)
operator_defect("words_of_nobody", "E_DESC_OPS", "worded", "words", value={"scales": 2})
operator_defect("words_1", "E_DESC_OPS", "worded", "words", "codes", value=1)
operator_defect("words_3_of_4_bytes", "E_DESC_OPS", "worded", "words", "codes", value=3)
file_defect(
    "ops_words_65",
    "E_DESC_OPS",
    "open",
    {
        **BASES["worded"],
        "planes": {"codes": {"block": [1, 5], "bytes": 65, "order": [1, 0]}},
        "ops": {"words": {"codes": 65}},
    },
    [3, 10],
    {"codes": bytes(390)},
)

# Gathering
GATHER = ("gather",)
operator_defect("gather_an_array", "E_SCHEMA_TYPE", "gathered", *GATHER, value=["g_idx"])
operator_defect("gather_without_index", "E_SCHEMA_MISSING", "gathered", *GATHER, "index")
operator_defect("gather_unknown_key", "E_SCHEMA_UNKNOWN", "gathered", *GATHER, "axis", value=1)
operator_defect("index_a_number", "E_SCHEMA_TYPE", "gathered", *GATHER, "index", value=0)
operator_defect("index_no_key", "E_DESC_OPS", "gathered", *GATHER, "index", value="G")
operator_defect("index_is_a_plane", "E_DESC_OPS", "gathered", *GATHER, "index", value="codes")
operator_defect("gathered_a_map", "E_SCHEMA_TYPE", "gathered", *GATHER, "planes", value={})
operator_defect("gathered_numbers", "E_SCHEMA_TYPE", "gathered", *GATHER, "planes", value=[0])
operator_defect("gathered_nothing", "E_DESC_OPS", "gathered", *GATHER, "planes", value=[])
operator_defect("gathered_nobody", "E_DESC_OPS", "gathered", *GATHER, "planes", value=["zeros"])
operator_defect(
    "gathered_unsorted", "E_DESC_OPS", "gathered", *GATHER, "planes", value=["scales", "codes"]
)
operator_defect(
    "gathered_twice", "E_DESC_OPS", "gathered", *GATHER, "planes", value=["scales", "scales"]
)
WIDE = copy.deepcopy(GATHERED)
WIDE["planes"]["scales"]["bytes"] = 17
file_defect(
    "ops_gathered_record_of_17_bytes",
    "E_DESC_OPS",
    "open",
    WIDE,
    [2, 6],
    {"codes": bytes(12), "g_idx": bytes(24), "scales": bytes(68)},
)
FINER = copy.deepcopy(GATHERED)
FINER["planes"]["scales"]["bytes"] = 8
FINER["fields"]["s"] |= {"over": [2], "at": [[[32, 0, [2], [32]]]]}
file_defect(
    "ops_gathered_codes_within_a_group",
    "E_DESC_OPS",
    "open",
    FINER,
    [2, 6],
    {"codes": bytes(12), "g_idx": bytes(24), "scales": bytes(32)},
)
LOOKED_UP = copy.deepcopy(VECTORS)
LOOKED_UP["planes"] = {"codes": {"block": [8], "bytes": 1}, "places": {"block": [4], "bytes": 1}}
LOOKED_UP["fields"]["q"] |= {"plane": "places", "at": [[[2, 0, [], []]]]}
LOOKED_UP["fields"]["s"]["at"] = [[[1, 0, [4], [1]]]]
LOOKED_UP["ops"] = {"gather": {"index": "g_idx", "planes": ["places"]}}
file_defect(
    "ops_gathered_vectors",
    "E_DESC_OPS",
    "open",
    LOOKED_UP,
    [2, 8],
    {"codes": bytes(2), "g_idx": bytes(32), "places": bytes(4)},
)

# The feature bit, planes and sizes
PLANES = {plane: bytes(size) for plane, size in SIZES["gathered"].items()}
file_defect("operators_without_their_bit", "E_FEATURE", "open", GATHERED, [2, 6], PLANES, 0)
file_defect(
    "index_missing",
    "E_PLANES",
    "open",
    GATHERED,
    [2, 6],
    {"codes": bytes(12), "scales": bytes(16)},
)
file_defect(
    "index_of_5_inputs",
    "E_PLANE_SIZE",
    "open",
    GATHERED,
    [2, 6],
    PLANES | {"g_idx": bytes(20)},
)
file_defect(
    "parts_of_rows_that_are_not_there",
    "E_PLANE_SIZE",
    "open",
    PARTS,
    [5, 3],
    {"codes": bytes(6), "scales": bytes(32)},
)
WHOLE = parted(1, 1, 64)
WHOLE["planes"] = {"codes": {"block": [0, 0, 0], "bytes": 1}}
WHOLE["fields"] = {
    "q": {**WHOLE["fields"]["q"], "over": [0, 0, 0], "at": [[[2, 0, [], []]]]},
}
WHOLE["value"] = "q"
file_defect("parts_of_65600_weights", "E_LIMIT", "open", WHOLE, [65537], {"codes": bytes(1)})

# Codes
file_defect(
    "index_negative",
    "E_CODE_INDEX",
    "touch",
    GATHERED,
    [2, 6],
    PLANES | {"g_idx": index(0, -1, *[0] * 4)},
)
file_defect(
    "index_of_no_group",
    "E_CODE_INDEX",
    "touch",
    GATHERED,
    [2, 6],
    PLANES | {"g_idx": index(*[0] * 5, 2)},
)
file_defect(
    "spare_bit_in_a_word",
    "E_CODE_PAD",
    "touch",
    BASES["worded"],
    [3, 10],
    {"codes": bytes(11) + b"\2" + bytes(12)},
)
file_defect(
    "code_beyond_an_edge_in_words",
    "E_CODE_EDGE",
    "touch",
    BASES["worded"],
    [3, 9],
    {"codes": bytes(12 + 6) + struct.pack("<H", 1 << 4) + bytes(4)},
)
file_defect(
    "code_of_a_row_that_fills_up",
    "E_CODE_EDGE",
    "touch",
    PARTS,
    [5, 3],
    {"codes": bytes(3) + b"\x10" + bytes(2), "scales": bytes(20)},
)
file_defect(
    "scale_beyond_a_flat_tensor",
    "E_CODE_EDGE",
    "touch",
    BASES["flat"],
    [3, 5],
    {"codes": bytes(7) + b"\x10", "scales": bytes(4)},
)
SPARSE = scaled([4], ops={"gather": {"index": "g_idx", "planes": ["codes", "scales"]}})
file_defect(
    "index_beyond_the_coarsest_plane",
    "E_CODE_INDEX",
    "touch",
    SPARSE,
    [2, 6],
    PLANES | {"g_idx": index(1, 2, 0, 0, 0, 0)},
)
