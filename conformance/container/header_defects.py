"""Files whose only defect is in what the header says."""

from conformance.container.byte_defects import DEFECTS, defect, header_bytes
from conformance.container.frames import frame
from conformance.container.parts import (
    BLOCKS,
    DOCUMENT,
    PLANE,
    Payload,
    build,
    compressed_example,
    example,
)


def header_defect(name, code, change):
    """Register a defect of the header: `change(top, core)` alters the decoded map."""

    def data():
        parts = example()
        change(parts.header, parts.header["core"])
        return build(parts)

    DEFECTS[name] = (code, "open", data)


header_bytes("header_is_an_array", "E_SCHEMA_TYPE", b"\x90")
header_bytes("header_is_empty", "E_SCHEMA_MISSING", b"\x80")


def put(*path, value):
    """A change of the header: set the value at a path below `core`, or remove it with None."""

    def change(_, core):
        *way, last = path
        for step in way:
            core = core[step]
        if value is None:
            del core[last]
        else:
            core[last] = value

    return change


def grown(*path, value):
    """A change of the header: append a value to the array at a path below `core`."""

    def change(_, core):
        for step in path:
            core = core[step]
        core.append(value)

    return change


def extension(**entry):
    return lambda top, _: top.update(ext={"x-vendor.thing": entry})


RANK_2 = [1, 32]
CALM = {"critical": False, "data": 1}

header_defect("info_is_an_array", "E_SCHEMA_TYPE", lambda top, _: top.update(info=[]))
header_defect("unknown_drawer", "E_SCHEMA_UNKNOWN", lambda top, _: top.update(extra={}))
header_defect("unknown_key_in_core", "E_SCHEMA_UNKNOWN", put("chats", value={}))
header_defect("no_schemes", "E_SCHEMA_MISSING", put("schemes", value=None))
header_defect("alias_empty", "E_SCHEMA_EMPTY", put("alias", value=[]))
header_defect("ext_empty", "E_SCHEMA_EMPTY", lambda top, _: top.update(ext={}))
header_defect("ext_critical", "E_EXT_CRITICAL", extension(critical=True, data=1))
header_defect("ext_without_data", "E_SCHEMA_MISSING", extension(critical=False))
header_defect(
    "ext_follows_nothing", "E_SCHEMA_TYPE", extension(critical=False, data=1, follows="x")
)
header_defect(
    "ext_without_vendor",
    "E_NAME",
    lambda top, _: top.update(ext={"thing": {"critical": False, "data": 1}}),
)
header_defect("bool_for_int", "E_SCHEMA_TYPE", put("tensors", 0, "scheme", value=False))
header_defect("float_for_int", "E_SCHEMA_TYPE", put("tensors", 0, "shape", value=[2.0, 32]))
header_defect("int_for_bool", "E_SCHEMA_TYPE", put("tokenizer", "add_bos", value=1))
header_defect("int_for_shape", "E_SCHEMA_TYPE", put("tensors", 0, "shape", value=64))
header_defect("map_for_segments", "E_SCHEMA_TYPE", put("docs", 0, "seg", value={"a": 1}))
header_defect("bytes_for_name", "E_SCHEMA_TYPE", put("tensors", 0, "name", value=b"a"))
header_defect("map_for_array", "E_SCHEMA_TYPE", put("docs", value={}))
header_defect("tensor_twice", "E_DUP", put("tensors", 1, "name", value="a"))
header_defect("tensors_unsorted", "E_ORDER", put("tensors", 0, "name", value="c"))
header_defect("ext_vendor_empty", "E_NAME", lambda top, _: top.update(ext={"x-.thing": CALM}))
header_defect("ext_thing_empty", "E_NAME", lambda top, _: top.update(ext={"x-vendor.": CALM}))
header_defect("media_with_two_spaces", "E_NAME", put("docs", 0, "media", value="text/x;  a"))
header_defect("media_with_a_space", "E_NAME", put("docs", 0, "media", value="text/x y"))
header_defect("media_with_semicolon_last", "E_NAME", put("docs", 0, "media", value="text/x; "))
header_defect("media_without_subtype", "E_NAME", put("docs", 0, "media", value="text/"))
header_defect("media_of_129_bytes", "E_NAME", put("docs", 0, "media", value="t/" + "x" * 127))
header_defect("kind_upper_case", "E_NAME", put("tokenizer", "kind", value="BPE"))
header_defect("eos_1025", "E_LIMIT", put("tokenizer", "eos", value=list(range(1025))))
header_defect("eos_a_float", "E_SCHEMA_TYPE", put("tokenizer", "eos", value=[2.0]))
header_defect("name_empty", "E_NAME", put("tensors", 0, "name", value=""))
header_defect("name_with_escape", "E_NAME", put("tensors", 0, "name", value="\x1b[2J"))
header_defect("name_with_delete", "E_NAME", put("tensors", 0, "name", value="a\x7f"))
header_defect("name_of_513_bytes", "E_NAME", put("tensors", 0, "name", value="a" * 511 + "é"))
header_defect("rank_0", "E_SHAPE", put("tensors", 0, "shape", value=[]))
header_defect("rank_9", "E_SHAPE", put("tensors", 0, "shape", value=[1] * 8 + [64]))
header_defect("dimension_0", "E_SHAPE", put("tensors", 0, "shape", value=[0, 32]))
header_defect("dimension_negative", "E_SHAPE", put("tensors", 0, "shape", value=[-2, -32]))
header_defect("dimension_too_large", "E_SHAPE", put("tensors", 0, "shape", value=[1, 2**40 + 1]))
header_defect("too_many_elements", "E_SHAPE", put("tensors", 0, "shape", value=[2**27, 2**26]))
header_defect("shape_larger_than_data", "E_PLANE_SIZE", put("tensors", 0, "shape", value=[3, 32]))
header_defect("shape_smaller_than_data", "E_PLANE_SIZE", put("tensors", 0, "shape", value=RANK_2))
header_defect("scale_too_short", "E_PLANE_SIZE", put("tensors", 1, "shape", value=[3, 2]))
header_defect("segment_out_of_range", "E_REF", put("tensors", 0, "planes", "blocks", value=[6]))
header_defect("segment_negative", "E_REF", put("tensors", 0, "planes", "blocks", value=[-1]))
header_defect("plane_is_the_header", "E_REF", put("tensors", 0, "planes", "blocks", value=[0]))
header_defect("plane_is_a_document", "E_REF", put("tensors", 0, "planes", "blocks", value=[2]))
header_defect("document_is_a_plane", "E_REF", put("docs", 0, "seg", value=[3]))
header_defect("scheme_out_of_range", "E_REF", put("tensors", 1, "scheme", value=2))
header_defect("scheme_negative", "E_REF", put("tensors", 0, "scheme", value=-1))
header_defect("alias_of_nothing", "E_REF", put("alias", 0, "of", value="z"))
header_defect("alias_of_an_alias", "E_REF", put("alias", 0, "of", value="tied"))
header_defect("tokenizer_document_absent", "E_REF", put("tokenizer", "doc", value="other"))
header_defect("alias_shadows_a_tensor", "E_DUP", put("alias", 0, "name", value="b"))
header_defect("alias_twice", "E_DUP", grown("alias", value={"name": "tied", "of": "b"}))
header_defect("aliases_unsorted", "E_ORDER", grown("alias", value={"name": "bound", "of": "b"}))
header_defect("documents_unsorted", "E_ORDER", put("docs", 0, "name", value="f"))
header_defect("document_twice", "E_DUP", put("docs", 0, "name", value="empty"))
header_defect("media_without_slash", "E_NAME", put("docs", 0, "media", value="text"))
header_defect("segment_shared", "E_SHARED", put("tensors", 1, "planes", "codes", value=[3]))
header_defect(
    "segment_twice_in_a_plane", "E_SHARED", grown("tensors", 0, "planes", "blocks", value=3)
)
header_defect("segments_swapped", "E_ORDER", put("tensors", 1, "planes", "codes", value=[5]))
header_defect("plane_missing", "E_PLANES", put("tensors", 1, "planes", "scales", value=None))
header_defect("plane_too_many", "E_PLANES", put("tensors", 0, "planes", "more", value=[4]))
header_defect("ext_an_array", "E_SCHEMA_TYPE", lambda top, _: top.update(ext=[]))
header_defect("planes_an_array", "E_SCHEMA_TYPE", put("tensors", 0, "planes", value=[3]))
header_defect("arch_fields_an_array", "E_SCHEMA_TYPE", put("arch", "fields", value=[]))
header_defect("plane_misnamed", "E_PLANES", put("tensors", 0, "planes", value={"block": [3]}))
header_defect("family_with_space", "E_NAME", put("arch", "family", value="lla ma"))
header_defect("eos_unsorted", "E_ORDER", put("tokenizer", "eos", value=[3, 2]))
header_defect("eos_negative", "E_ORDER", put("tokenizer", "eos", value=[-1]))
header_defect("bos_negative", "E_SCHEMA_TYPE", put("tokenizer", "bos", value=-1))
CHAT = {"prompt": "", "start": "", "turns": {"assistant": ["", ""], "user": ["a", "b"]}}


def chat(**changes):
    """A change of the header: a chat whose entries, or whose turns, are changed."""
    turns = {**CHAT["turns"], **{k: v for k, v in changes.items() if k not in CHAT}}
    found = {**CHAT, "turns": {k: v for k, v in turns.items() if v is not None}}
    return put("chat", value={**found, **{k: v for k, v in changes.items() if k in CHAT}})


header_defect("chat_an_array", "E_SCHEMA_TYPE", put("chat", value=[]))
header_defect("chat_without_start", "E_SCHEMA_MISSING", put("chat", value={"turns": {}}))
header_defect("chat_role_unknown", "E_SCHEMA_UNKNOWN", chat(tool=["", ""]))
header_defect("chat_without_assistant", "E_SCHEMA_MISSING", chat(assistant=None))
header_defect("chat_turn_a_string", "E_SCHEMA_TYPE", chat(user="ab"))
header_defect("chat_turn_of_1", "E_SCHEMA_TYPE", chat(system=["a"]))
header_defect("chat_turn_of_3", "E_SCHEMA_TYPE", chat(system=["a", "b", "c"]))
header_defect("chat_turn_of_bytes", "E_SCHEMA_TYPE", chat(user=["a", b"b"]))
header_defect("chat_prompt_an_integer", "E_SCHEMA_TYPE", chat(prompt=0))
header_defect("chat_prompt_of_65537_bytes", "E_LIMIT", chat(prompt="\u00e9" * 32768 + "a"))
header_defect("chat_turn_of_65537_bytes", "E_LIMIT", chat(user=["", "a" * 65537]))
header_defect("too_many_schemes", "E_LIMIT", put("schemes", value=[0] * 4097))
header_defect("too_many_tensors", "E_LIMIT", put("tensors", value=[0] * ((1 << 18) + 1)))
header_defect("too_many_aliases", "E_LIMIT", put("alias", value=[0] * ((1 << 18) + 1)))
header_defect("layout_version_2", "E_DESC_VERSION", put("schemes", 0, "rqd", value=2))


@defect("E_UNREF")
def segment_of_nobody(parts):
    parts.payloads.append(Payload(PLANE, b"1234"))


@defect("E_UNREF")
def scheme_of_nobody(parts):
    core = parts.header["core"]
    del core["tensors"][1], parts.payloads[3:]


def sixteen_planes(constant):
    """A layout of the largest records, and as many planes as there may be."""
    names = [f"p{i:02}" for i in range(16)]
    byte = {"elem": {"k": "u", "b": 8}, "over": [1], "at": [[[8, 0, [], []]]]}
    tree = [["mul", name, constant] for name in names]
    while len(tree) > 1:
        tree = [["add", *tree[i : i + 2]] for i in range(0, len(tree), 2)]
    return {
        "rqd": 1,
        "planes": {name: {"block": [1], "bytes": 65536} for name in names},
        "fields": {name: {"plane": name, **byte} for name in names},
        "value": tree[0],
    }


@defect("E_LIMIT")
def records_of_5_mib(parts):
    parts.header["core"]["schemes"] = [sixteen_planes(float(i)) for i in range(1, 6)]


@defect("E_DUP")
def layout_twice(parts):
    core = parts.header["core"]
    core["schemes"].insert(1, core["schemes"][0])


@defect("E_ORDER")
def schemes_not_by_first_use(parts):
    core = parts.header["core"]
    core["schemes"].reverse()
    for tensor in core["tensors"]:
        tensor["scheme"] = 1 - tensor["scheme"]


@defect("E_DESC_RANK")
def layout_divides_more_axes(parts):
    core = parts.header["core"]
    core["schemes"][0]["planes"]["blocks"]["block"] = [2, 32]
    core["schemes"][0]["fields"]["d"]["over"] = [2, 32]
    core["schemes"][0]["fields"]["q"] |= {"over": [2, 1], "at": [[[4, 16, [2, 16], [4, 8]]]]}
    core["tensors"][0]["shape"] = [64]


@defect("E_CUT")
def plane_cut_in_a_raw_file(parts):
    parts.payloads[2:3] = [Payload(PLANE, BLOCKS[:18]), Payload(PLANE, BLOCKS[18:])]
    first, second = parts.header["core"]["tensors"]
    first["planes"] = {"blocks": [3, 4]}
    second["planes"] = {"codes": [5], "scales": [6]}


@defect("E_CUT")
def plane_cut_elsewhere(_):
    parts = compressed_example()
    raw = parts.payloads[0].raw
    parts.payloads = [Payload(PLANE, frame(half), half) for half in (raw[:2048], raw[2048:])]
    parts.header["core"]["tensors"][0]["planes"]["codes"] = [1, 2]
    return parts


@defect("E_CUT")
def document_in_two_segments(parts):
    parts.payloads.insert(1, Payload(DOCUMENT, b"more"))
    core = parts.header["core"]
    core["docs"][0]["seg"] = [1, 2]
    core["docs"][2]["seg"] = [3]
    core["tensors"][0]["planes"] = {"blocks": [4]}
    core["tensors"][1]["planes"] = {"codes": [5], "scales": [6]}


@defect("E_LIMIT")
def document_too_long(parts):
    parts.payloads[0] = Payload(DOCUMENT, bytes((64 << 20) + 1))
