"""Sets with exactly one defect each, in the list of shards or in a reference to one."""

from conformance.container.parts import (
    BLOCKS,
    CODES,
    PLANE,
    Payload,
)
from conformance.container.shard_sets import (
    REJECT,
    a_plane_in_the_root,
    defect,
    planes_of_b,
)

__all__ = ["REJECT", "TOO_LARGE_TO_KEEP"]

TOO_LARGE_TO_KEEP = {"too_many_shards"}

# ------------------------------------------------------------------- the list of shards

NAMES = {
    "empty": "",
    "parent": "../first.rq",
    "in_a_folder": "a/first.rq",
    "in_a_folder_of_windows": "a\\first.rq",
    "absolute": "/first.rq",
    "drive": "C:first.rq",
    "device": "NUL.rq",
    "device_with_two_endings": "aux.b.rq",
    "numbered_device": "Com1.rq",
    "trailing_point": "first.rq.",
    "trailing_space": "first.rq ",
    "leading_point": ".first.rq",
    "leading_hyphen": "-first.rq",
    "two_points": "first..rq",
    "other_ending": "first.gguf",
    "only_an_ending": ".rq",
    "letters_beyond_ascii": "fïrst.rq",
    "control_character": "fi\nrst.rq",
    "line_after_it": "first.rq\n",
    "stream_of_windows": "first.rq:a",
    "percent": "%2e%2e.rq",
    "address": "http:first.rq",
    "too_long": "a" * 126 + ".rq",
}


def register_names():
    """One set for each name that is no shard's."""
    for title, name in NAMES.items():

        def make(made, name=name):
            made.listed[0] = {"name": name}

        REJECT[f"name_{title}"] = ("E_SHARD_NAME", "S6", make)


register_names()


@defect("E_DUP")
def one_name_twice(made):
    made.shards[1] = ("first.rq", made.shards[1][1])


@defect("E_DUP")
def names_that_differ_in_case(made):
    made.shards[1] = ("First.RQ".replace("RQ", "rq"), made.shards[1][1])


@defect("E_SCHEMA_TYPE")
def a_name_that_is_bytes(made):
    made.listed[0] = {"name": b"first.rq"}


@defect("E_SCHEMA_TYPE")
def a_root_that_is_text(made):
    made.listed[0] = {"root": "0" * 32}


@defect("E_SCHEMA_TYPE")
def a_root_of_31_bytes(made):
    made.listed[0] = {"root": bytes(31)}


@defect("E_SCHEMA_TYPE")
def a_length_that_is_a_float(made):
    made.listed[0] = {"file_len": 512.0}


@defect("E_SHARD_LENGTH")
def a_length_of_127(made):
    made.listed[0] = {"file_len": 127}


@defect("E_SHARD_LENGTH")
def a_negative_length(made):
    made.listed[0] = {"file_len": -512}


@defect("E_SCHEMA_UNKNOWN")
def an_unknown_key_of_a_shard(made):
    made.listed[0] = {"path": "/"}


@defect("E_SCHEMA_MISSING")
def a_shard_without_a_root(made):
    made.core["shards"] = [{"file_len": 512, "name": "first.rq"}]


@defect("E_SCHEMA_TYPE")
def shards_that_are_a_map(made):
    made.core["shards"] = {"first.rq": 512}


@defect("E_SCHEMA_EMPTY")
def an_empty_list_of_shards(made):
    made.core["shards"] = []


@defect("E_LIMIT")
def too_many_shards(made):
    entry = {"file_len": 512, "root": bytes(32)}
    made.core["shards"] = [entry | {"name": f"{n:04}.rq"} for n in range(4097)]


@defect("E_FEATURE")
def shards_without_the_bit(made):
    made.preamble["features"] = 0


@defect("E_FEATURE")
def the_bit_without_shards(made):
    made.core["shards"] = None


# ------------------------------------------------------------------- references


@defect("E_SCHEMA_TYPE")
def a_reference_without_a_file(made):
    planes_of_b(made, [1], [[2, 2]])


@defect("E_SCHEMA_TYPE")
def a_reference_of_three_numbers(made):
    planes_of_b(made, [[2, 1, 0]], [[2, 2]])


@defect("E_SCHEMA_TYPE")
def a_reference_with_a_float(made):
    planes_of_b(made, [[2, 1.0]], [[2, 2]])


@defect("E_SCHEMA_TYPE")
def a_later_reference_that_is_no_pair(made):
    planes_of_b(made, [[9, 9], 1], [[2, 2]])


@defect("E_REF")
def a_file_that_is_not_listed(made):
    planes_of_b(made, [[3, 1]], [[2, 2]])


@defect("E_REF")
def a_negative_file(made):
    planes_of_b(made, [[-1, 1]], [[2, 2]])


@defect("E_REF")
def the_header_of_a_shard(made):
    planes_of_b(made, [[2, 0]], [[2, 2]])


@defect("E_REF")
def a_segment_beyond_any_table(made):
    planes_of_b(made, [[2, 1 << 20]], [[2, 2]])


@defect("E_REF")
def a_segment_beyond_the_roots_table(made):
    planes_of_b(made, [[0, 3]], [[2, 2]])


@defect("E_REF")
def a_plane_that_is_a_document_of_the_root(made):
    planes_of_b(made, [[0, 1]], [[2, 2]])


@defect("E_REF")
def a_document_in_a_shard(made):
    made.core["docs"][2]["seg"] = [[1, 1]]


@defect("E_SHARED")
def one_segment_of_a_shard_twice(made):
    planes_of_b(made, [[2, 1]], [[2, 1]])


@defect("E_SHARED")
def back_to_an_earlier_shard(made):
    planes_of_b(made, [[2, 1]], [[1, 2]])


@defect("E_ORDER")
def a_segment_of_a_shard_left_out(made):
    planes_of_b(made, [[2, 1]], [[2, 3]])


@defect("E_ORDER")
def a_shard_that_begins_with_its_second(made):
    planes_of_b(made, [[2, 2]], [[2, 1]])


@defect("E_ORDER")
def a_shard_left_out(made):
    made.tensors["a"]["planes"] = {"blocks": [[2, 1]]}


@defect("E_ORDER")
def on_to_a_shard_with_segments_of_the_root_left(made):
    made.payloads.append(Payload(PLANE, BLOCKS))


@defect("E_UNREF")
def a_last_shard_that_nothing_refers_to(made):
    made.shards.append(("third.rq", made.shards[0][1]))


@defect("E_CUT")
def a_plane_in_two_shards(made):
    made.shards[0][1].payloads.append(Payload(PLANE, CODES[:3]))
    made.shards[1][1].payloads[0] = Payload(PLANE, CODES[3:])
    planes_of_b(made, [[1, 2], [2, 1]], [[2, 2]])


@defect("E_PLANE_SIZE")
def a_plane_of_the_root_too_short(made):
    a_plane_in_the_root(made)
    made.payloads[2] = Payload(PLANE, BLOCKS[:-1])


@defect("E_LIMIT")
def too_many_weights_for_the_bytes(made):
    made.tensors["b"]["shape"] = [2, 1 << 20]
    description = made.core["schemes"][1]
    description["planes"]["codes"] = {"block": [0], "bytes": 1}
    description["fields"]["q"]["over"] = [0]
