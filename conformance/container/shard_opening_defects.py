"""Sets with exactly one defect each, which shows when a shard is opened."""

from conformance.container.parts import (
    BLOCKS,
    CODES,
    DOCUMENT,
    PLANE,
    SCALES,
    Parts,
    Payload,
    build,
)
from conformance.container.shard_sets import (
    REJECT,
    ROOT,
    SHARDS_BIT,
    defect,
    equal_shards_under_two_names,
    example,
    laid_out,
    planes_of_b,
    shard_of,
)

__all__ = ["REJECT"]

# ------------------------------------------------------------------- opening a shard


@defect("E_SHARD_MISSING", "shard")
def the_first_shard_missing(made):
    made.files["first.rq"] = None


@defect("E_SHARD_MISSING", "shard")
def the_last_shard_missing(made):
    made.files["second.rq"] = None


@defect("E_SHARD_MISSING", "shard")
def a_folder_in_place_of_a_shard(made):
    made.files |= {"second.rq": None, "second.rq/shard.rq": build(made.shards[1][1])}


@defect("E_SHARD_LENGTH", "shard")
def a_shard_cut_short(made):
    made.files["second.rq"] = build(made.shards[1][1])[:-1]


@defect("E_SHARD_LENGTH", "shard")
def an_empty_shard(made):
    made.files["second.rq"] = b""


@defect("E_SHARD_LENGTH", "shard")
def a_shard_appended_to(made):
    made.files["second.rq"] = build(made.shards[1][1]) + b"\0"


@defect("E_SHARD_ROOT", "shard")
def a_stale_shard(made):
    """Of the right length, and sound in itself."""
    other = shard_of([Payload(PLANE, CODES), Payload(PLANE, SCALES[::-1])])
    made.files["second.rq"] = build(other)


@defect("E_SHARD_ROOT", "shard")
def shards_swapped(made):
    equal_shards_under_two_names(made)
    made.shards[1] = ("second.rq", shard_of([Payload(PLANE, BLOCKS[::-1])]))
    first, second = (build(parts) for _, parts in made.shards)
    made.files |= {"first.rq": second, "second.rq": first}


@defect("E_SHARD_ROOT", "shard")
def a_root_that_lists_itself(made):
    made.listed[1] = {"name": ROOT, "file_len": 10_000}
    while made.listed[1]["file_len"] != (length := len(laid_out(made)[ROOT])):
        made.listed[1]["file_len"] = length


@defect("E_SHARD_ROLE", "shard")
def a_shard_that_is_a_model(made):
    core = {"docs": [], "schemes": [], "tensors": []}
    made.shards[1] = ("second.rq", Parts({"core": core, "info": {}}, []))


@defect("E_SHARD_ROLE", "shard")
def a_shard_that_has_shards(made):
    made.shards[1] = ("second.rq", laid_out(example())[ROOT])


@defect("E_SHARD_ROLE", "shard")
def a_shard_alone(made):
    made.files = {ROOT: build(made.shards[0][1]), "first.rq": None, "second.rq": None}


@defect("E_FEATURE")
def a_shard_with_the_bit_for_operators(made):
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], SHARDS_BIT | 4))


@defect("E_SCHEMA_TYPE")
def another_role(made):
    made.files[ROOT] = build(shard_of([Payload(PLANE, BLOCKS)], core={"role": "part"}))


@defect("E_SCHEMA_UNKNOWN")
def a_shard_with_tensors(made):
    core = {"role": "shard", "tensors": []}
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], core=core))


@defect("E_FEATURE")
def a_shard_without_the_bit(made):
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], 0))


@defect("E_FEATURE", "S0")
def a_shard_with_an_unknown_feature(made):
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], SHARDS_BIT | 1 << 9))


@defect("E_EXT_CRITICAL")
def a_critical_extension_of_a_shard(made):
    drawer = {"ext": {"x-test.y": {"critical": True, "data": 0}}}
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], **drawer))


@defect("E_REF", "shard")
def a_segment_beyond_the_shards_table(made):
    made.shards[1][1].payloads.pop()


@defect("E_REF", "shard")
def a_plane_that_is_a_document_of_a_shard(made):
    made.shards[1][1].payloads[1] = Payload(DOCUMENT, SCALES)


@defect("E_UNREF", "shard")
def a_segment_of_a_shard_with_no_owner(made):
    made.shards[1][1].payloads.append(Payload(PLANE, SCALES))


@defect("E_PLANE_SIZE", "shard")
def a_plane_of_a_shard_too_short(made):
    made.shards[1][1].payloads[1] = Payload(PLANE, SCALES[:-1])


@defect("E_CUT", "shard")
def a_plane_of_a_raw_shard_cut(made):
    made.shards[1][1].payloads[:1] = [Payload(PLANE, CODES[:3]), Payload(PLANE, CODES[3:])]
    planes_of_b(made, [[2, 1], [2, 2]], [[2, 3]])


def patched(place, pinned=True):  # noqa: FBT002 - a word where it is used
    """The second shard with one byte changed; `pinned` if the root lists what it then is."""

    def make(made):
        data = bytearray(build(made.shards[1][1]))
        data[place] ^= 1
        if pinned:
            made.shards[1] = ("second.rq", bytes(data))
        made.files["second.rq"] = bytes(data)

    return make


REJECT |= {
    "another_magic_in_a_shard": ("E_MAGIC", "S0", patched(1)),
    "a_changed_table_in_a_shard": ("E_TABLE_DIGEST", "S1", patched(64 + 24)),
    "a_changed_header_in_a_shard": ("E_SEG_CRC", "S4", patched(64 + 3 * 64 + 3)),
    "a_changed_plane_in_a_shard": ("E_SEG_CRC", "S8", patched(-1, pinned=False)),
}


@defect("E_PAD", "S2")
def padding_in_a_shard(made):
    made.shards[1][1].padding = b"\1"


@defect("E_SEG_SHA", "S8")
def a_wrong_digest_in_a_shard(made):
    made.shards[1][1].entries[2] = {7: bytes(32)}


@defect("E_CODE_PAD", "S8")
def a_spare_bit_in_a_shard(made):
    made.core["schemes"][1]["planes"]["codes"]["bytes"] = 2
    made.shards[1][1].payloads[0] = Payload(PLANE, bytes(11) + b"\1")
