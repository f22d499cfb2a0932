import struct
import time
import tracemalloc
from collections.abc import Sequence

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.gguf_file import read_gguf
from refquant.formats.gguf_types import GGML_TYPES as TYPES
from refquant.formats.gguf_types import REMOVED_GGML_TYPES
from tests import gguf_bytes as made
from tests.gguf_bytes import ARRAY, BOOL, F32, F64, I16, I64, STRING, U8, U32, U64

PAIRS = (
    ("general.architecture", STRING, "llama"),
    ("a.u8", U8, 255),
    ("a.i16", I16, -2),
    ("a.u64", U64, 2**64 - 1),
    ("a.i64", I64, -(2**63)),
    ("a.f32", F32, 0.5),
    ("a.f64", F64, 1e300),
    ("a.bool", BOOL, True),
    ("a.words", ARRAY, (STRING, ["first", "", "two words", "日本"])),
    ("a.numbers", ARRAY, (U32, [1, 2, 2**32 - 1])),
    ("a.flags", ARRAY, (BOOL, [True, False])),
    ("a.none", ARRAY, (STRING, [])),
)
TENSORS = (
    ("token_embd.weight", (3, 32), 2, bytes(range(54))),
    ("norm", (5,), 0, bytes(range(20))),
    ("half", (2, 1, 4), 1, bytes(range(16))),
)
FILE = made.build(PAIRS, TENSORS)


@pytest.fixture
def save(tmp_path):
    def write(data: bytes):
        path = tmp_path / "x.gguf"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("use_mmap", [True, False])
def test_metadata_and_tensors_are_what_was_written(save, use_mmap):
    file = read_gguf(save(FILE), use_mmap=use_mmap)
    assert file.version == 3
    assert file.alignment == 32
    plain = {key: list(v) if not isinstance(v, (str, int, float)) else v
             for key, v in file.metadata.items()}  # fmt: skip
    assert plain == {
        key: list(content[1]) if kind == ARRAY else content for key, kind, content in PAIRS
    }
    assert type(file.metadata["a.bool"]) is bool
    assert file.metadata["a.words"][3] == "日本"
    assert file.metadata["a.words"][1:3] == ["", "two words"]
    assert file.metadata["a.words"][-4] == "first"
    with pytest.raises(IndexError):
        file.metadata["a.words"][4]
    found = {
        name: (one.shape, one.type_name, one.data.tobytes()) for name, one in file.tensors.items()
    }
    assert found == {
        "token_embd.weight": ((3, 32), "Q4_0", bytes(range(54))),
        "norm": ((5,), "F32", bytes(range(20))),
        "half": ((2, 1, 4), "F16", bytes(range(16))),
    }
    assert not file.tensors["norm"].data.flags.writeable


def test_gguf_reads_the_same_file_alike(save):
    path = save(FILE)
    theirs, ours = gguf.GGUFReader(path), read_gguf(path)
    assert [one.name for one in theirs.tensors] == list(ours.tensors)
    for one in theirs.tensors:
        mine = ours.tensors[one.name]
        assert mine.shape == tuple(int(n) for n in reversed(one.shape))
        assert mine.type_name == one.tensor_type.name
        assert mine.data.tobytes() == one.data.tobytes()
    for key in (key for key, _, _ in PAIRS):
        mine = ours.metadata[key]
        expected = theirs.fields[key].contents()
        assert (list(mine) if isinstance(expected, list) else mine) == expected


def test_a_file_that_gguf_wrote_is_read(tmp_path):
    path = tmp_path / "w.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("x.words", ["a", "bc"])
    writer.add_float32("x.number", 1.5)
    writer.add_custom_alignment(64)
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    writer.add_tensor("w", weights)
    writer.add_tensor("v", np.ones(1, dtype=np.float16))
    for step in ("header_to_file", "kv_data_to_file", "tensors_to_file"):
        getattr(writer, f"write_{step}")()
    writer.close()
    file = read_gguf(path)
    assert file.alignment == 64
    assert list(file.metadata["x.words"]) == ["a", "bc"]
    assert file.tensors["w"].data.tobytes() == weights.tobytes()
    assert file.tensors["v"].offset % 64 == 0


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_data_begin_at_the_stated_alignment(save, alignment):
    """At every length of the head, so that rounding to another multiple would show."""
    stated = ("general.alignment", U32, alignment)
    for length in range(0, 64, 3):
        pairs = [stated, ("k" * (length + 1), U8, 1)]
        file = read_gguf(save(made.build(pairs, TENSORS, alignment)))
        for name, _, _, raw in TENSORS:
            assert file.tensors[name].data.tobytes() == raw
            assert file.tensors[name].offset % alignment == 0


def test_version_2_has_the_same_bytes(save):
    assert read_gguf(save(FILE[:4] + struct.pack("<I", 2) + FILE[8:])).version == 2


def test_the_type_table_is_ggufs():
    ours = {number: (one.name, one.block_size, one.block_bytes) for number, one in TYPES.items()}
    theirs = {one.value: (one.name, *gguf.GGML_QUANT_SIZES[one]) for one in GGMLQuantizationType}
    # Two known differences of gguf 0.19: it gives Q8_1 the two float32 that ggml made float16,
    # and is older than Q2_0.
    assert ours.pop(9) == ("Q8_1", 32, 36)
    assert theirs.pop(9) == ("Q8_1", 32, 40)
    assert ours.pop(42) == ("Q2_0", 64, 18)
    assert ours == theirs
    assert not REMOVED_GGML_TYPES.keys() & TYPES.keys()
    assert sorted(TYPES.keys() | REMOVED_GGML_TYPES.keys()) == list(range(43))


def test_nested_arrays_are_read_to_a_depth(save):
    inner = (ARRAY, [(U8, [1, 2]), (STRING, ["x"])])
    file = read_gguf(save(made.build([("deep", ARRAY, inner)])))
    assert [list(one) for one in file.metadata["deep"]] == [[1, 2], ["x"]]
    bottomless = made.header(0, 1) + made.text("deep") + struct.pack("<I", ARRAY)
    bottomless += struct.pack("<IQ", ARRAY, 1) * 100_000
    assert code_of(save(bottomless)) == "E_GGUF_DEPTH"
    wide = (ARRAY, [(U8, [])] * 70_000)
    assert code_of(save(made.build([("wide", ARRAY, wide)]))) == "E_GGUF_COUNT"


def code_of(path) -> str:
    """The code of the FormatError that reading the file gives, which names path and place."""
    with pytest.raises(FormatError) as caught:
        read_gguf(path)
    assert str(path) in str(caught.value)
    assert caught.value.offset is not None
    return caught.value.code


def test_every_truncation_is_a_format_error(save):
    """At every byte of the head, so at every field boundary, and inside the data."""
    codes = {code_of(save(FILE[:length])) for length in range(len(FILE) - 16)}
    assert codes == {"E_GGUF_TRUNCATED", "E_GGUF_COUNT"}


def test_padding_behind_the_last_tensor_may_be_missing(save):
    end = len(FILE) - 16
    assert read_gguf(save(FILE[:end])).tensors["half"].data.size == 16
    assert code_of(save(FILE[: end - 1])) == "E_GGUF_TRUNCATED"


def one_tensor(shape: Sequence[int], type_id: int = 0, offset: int = 0, data: bytes = b"") -> bytes:
    head = made.header(1, 0) + made.description("w", shape, type_id, offset)
    return made.pad(head, 32) + data


def strings(count: int, body: bytes) -> bytes:
    head = made.header(0, 1) + made.text("k") + struct.pack("<IIQ", ARRAY, STRING, count)
    return head + body


TWO = made.header(2, 0)
DAMAGED = {
    "magic": (b"GGUX" + FILE[4:], "E_GGUF_MAGIC"),
    "version 0": (FILE[:4] + bytes(4) + FILE[8:], "E_GGUF_VERSION"),
    "2^64 - 1 tensors": (made.header(2**64 - 1, 0), "E_GGUF_COUNT"),
    "2^64 - 1 pairs": (made.header(0, 2**64 - 1), "E_GGUF_COUNT"),
    "2^63 tensors in a long file": (made.header(2**63, 0) + bytes(999), "E_GGUF_COUNT"),
    "more pairs than allowed": (made.header(0, 70_000) + bytes(13 * 70_000), "E_GGUF_COUNT"),
    "endless key": (made.header(0, 1) + struct.pack("<Q", 2**64 - 1) + bytes(9), "E_GGUF_STRING"),
    "long key": (made.header(0, 1) + made.text("k" * 65536) + bytes(9), "E_GGUF_STRING"),
    "empty key": (made.build([("", U8, 1)]), "E_GGUF_KEY"),
    "key twice": (made.build([("k", U8, 1), ("k", U8, 1)]), "E_GGUF_KEY"),
    "key not UTF-8": (
        made.header(0, 1) + made.text(b"\xff") + struct.pack("<IB", U8, 1), "E_GGUF_UTF8"
    ),
    "unknown value type": (
        made.header(0, 1) + made.text("k") + struct.pack("<IQ", 13, 0), "E_GGUF_VALUE_TYPE"
    ),
    "unknown element type": (
        made.header(0, 1) + made.text("k") + struct.pack("<IIQ", ARRAY, 77, 0), "E_GGUF_VALUE_TYPE"
    ),
    "endless numbers": (
        made.header(0, 1) + made.text("k") + struct.pack("<IIQ", ARRAY, F64, 2**61) + bytes(64),
        "E_GGUF_COUNT",
    ),
    "one string too many": (strings(9, bytes(8 * 8)), "E_GGUF_COUNT"),
    "endless strings": (strings(2**61, bytes(64)), "E_GGUF_COUNT"),
    "a string of 2^64 - 1 bytes": (strings(2, b"\xff" * 16), "E_GGUF_TRUNCATED"),
    "a string of 2^63 - 1 bytes": (
        strings(2, struct.pack("<QQ", 2**63 - 1, 0)), "E_GGUF_TRUNCATED"
    ),
    "the last string too long": (
        strings(2, struct.pack("<QQ", 0, 1)), "E_GGUF_TRUNCATED"
    ),
    "a value of 2": (
        made.header(0, 1) + made.text("k") + struct.pack("<IB", BOOL, 2), "E_GGUF_BOOL"
    ),
    "a flag of 2": (
        made.header(0, 1) + made.text("k") + struct.pack("<IIQBB", ARRAY, BOOL, 2, 1, 2),
        "E_GGUF_BOOL",
    ),
    "alignment 0": (made.build([("general.alignment", U32, 0)]), "E_GGUF_ALIGNMENT"),
    "alignment 24": (made.build([("general.alignment", U32, 24)]), "E_GGUF_ALIGNMENT"),
    "alignment 2^31": (made.build([("general.alignment", U32, 2**31)]), "E_GGUF_ALIGNMENT"),
    "alignment as text": (made.build([("general.alignment", STRING, "32")]), "E_GGUF_ALIGNMENT"),
    "alignment as u64": (made.build([("general.alignment", U64, 32)]), "E_GGUF_ALIGNMENT"),
    "five dimensions": (one_tensor((1, 1, 1, 1, 1), 0, 0, bytes(4)), "E_GGUF_SHAPE"),
    "2^32 - 1 dimensions": (
        made.header(1, 0) + made.text("w") + struct.pack("<I", 2**32 - 1) + bytes(64),
        "E_GGUF_SHAPE",
    ),
    # 2^32 * 2^32 elements wrap to 0 in 64 bits, (2^42 + 1) * 2^22 * 4 bytes to a small number.
    "product wraps to 0": (one_tensor((2**32, 2**32)), "E_GGUF_SHAPE"),
    "size wraps": (one_tensor((2**42 + 1, 2**22), 0, 0, bytes(64)), "E_GGUF_SHAPE"),
    "zero hides a wrap": (one_tensor((0, 2**63)), "E_GGUF_SHAPE"),
    "row not a multiple of 32": (one_tensor((2, 16), 2, 0, bytes(64)), "E_GGUF_SHAPE"),
    "bigger than the file": (one_tensor((1024,), 0, 0, bytes(64)), "E_GGUF_TRUNCATED"),
    "offset behind the file": (one_tensor((1,), 0, 2**63, bytes(64)), "E_GGUF_TRUNCATED"),
    "offset + size wraps": (one_tensor((1,), 0, 2**64 - 32, bytes(64)), "E_GGUF_TRUNCATED"),
    "offset between": (one_tensor((1,), 0, 4, bytes(64)), "E_GGUF_OFFSET"),
    "no name": (
        made.pad(made.header(1, 0) + made.description("", (1,), 0, 0), 32) + bytes(4),
        "E_GGUF_NAME",
    ),
    "endless name": (
        made.header(1, 0) + struct.pack("<Q", 2**40) + bytes(64), "E_GGUF_STRING"
    ),
    "name twice": (
        made.pad(TWO + made.description("w", (1,), 0, 0) * 2, 32) + bytes(4), "E_GGUF_NAME"
    ),
    "the same bytes twice": (
        made.pad(TWO + made.description("w", (1,), 0, 0) + made.description("v", (1,), 0, 0), 32)
        + bytes(4),
        "E_GGUF_OVERLAP",
    ),
    "overlap": (
        made.pad(TWO + made.description("w", (16,), 0, 0) + made.description("v", (8,), 0, 32), 32)
        + bytes(64),
        "E_GGUF_OVERLAP",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", DAMAGED)
def test_each_defect_has_its_code(save, defect):
    data, code = DAMAGED[defect]
    assert code_of(save(data)) == code


@pytest.mark.parametrize("defect", DAMAGED)
def test_no_defect_makes_the_reader_allocate(save, defect):
    path = save(DAMAGED[defect][0])
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_strings_that_are_not_utf8_fail_when_asked_for(save):
    body = made.text("fine") + made.text(b"a\xc3(") + made.text("fine")
    words = read_gguf(save(strings(3, body))).metadata["k"]
    assert len(words) == 3
    assert words[2] == "fine"
    for ask in (list, lambda found: found[1]):
        with pytest.raises(FormatError) as caught:
            ask(words)
        assert caught.value.code == "E_GGUF_UTF8"


def test_what_cannot_be_read_yet_is_unsupported_and_says_so(save):
    swapped = b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    for data, words, code in (
        (swapped, "big-endian", "E_GGUF_BIG_ENDIAN"),
        (made.header(0, 0, version=1), "version 1", "E_GGUF_VERSION"),
        (made.header(0, 0, version=4), "version 4", "E_GGUF_VERSION"),
        (one_tensor((32,), 31), "Q4_0_4_4", "E_GGUF_TENSOR_TYPE"),
        (one_tensor((32,), 999), "999", "E_GGUF_TENSOR_TYPE"),
    ):
        with pytest.raises(UnsupportedError, match=words) as caught:
            read_gguf(save(data))
        assert caught.value.code == code


def test_more_strings_than_any_vocabulary_has_are_refused_before_they_are_walked(save):
    path = save(strings(2**24 + 1, b""))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 8 * (2**24 + 1))  # a hole: it takes no disk
    assert code_of(path) == "E_GGUF_COUNT"


def test_control_characters_in_names_are_escaped(save):
    data = made.pad(TWO + made.description("\x1b[2J\n", (1,), 0, 0) * 2, 32) + bytes(4)
    with pytest.raises(FormatError) as caught:
        read_gguf(save(data))
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2J\\n" in str(caught.value)


def test_a_path_that_cannot_be_opened_is_a_usage_error(tmp_path):
    for path in (tmp_path, tmp_path / "missing.gguf"):
        with pytest.raises(UsageError):
            read_gguf(path)


def test_a_random_byte_changed_is_read_or_refused_and_never_worse(save):
    """Half a second of blind damage: nothing but our own errors may come out."""
    generator = np.random.default_rng(7)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        data = bytearray(FILE)
        for _ in range(generator.integers(1, 4)):
            data[generator.integers(len(data))] = generator.choice([0, 1, 127, 128, 255])
        try:
            file = read_gguf(save(bytes(data)))
            for found in file.metadata.values():
                list(found) if not isinstance(found, (int, float)) else found
        except (FormatError, UnsupportedError):
            continue
