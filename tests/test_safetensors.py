import json
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from refquant.errors import FormatError, UnsupportedError
from refquant.formats.safetensors import DTYPE_BITS, read_safetensors
from tests import safetensors_bytes as made

TENSORS = {
    "b": ("F32", (2, 3), bytes(range(24))),
    "a": ("BF16", (4,), bytes(range(8))),
    "scalar": ("I64", (), bytes(range(8))),
    "none": ("F16", (0, 7), b""),
    "flags": ("BOOL", (3,), b"\1\0\1"),
}
FILE = made.build(TENSORS, {"format": "pt"})


@pytest.fixture
def save(tmp_path):
    def write(data: bytes):
        path = tmp_path / "x.safetensors"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("use_mmap", [True, False])
def test_what_was_written_is_read(save, use_mmap):
    file = read_safetensors(save(FILE), use_mmap=use_mmap)
    assert dict(file.metadata) == {"format": "pt"}
    assert {
        name: (one.dtype, one.shape, one.data.tobytes()) for name, one in file.tensors.items()
    } == TENSORS
    assert not file.tensors["b"].data.flags.writeable


def test_the_library_reads_the_same_file_alike(save):
    path = save(FILE)
    ours = read_safetensors(path)
    with safe_open(path, framework="numpy") as theirs:
        assert set(theirs.keys()) == set(ours.tensors)
        for name in ("b", "scalar", "flags"):
            assert theirs.get_tensor(name).tobytes() == ours.tensors[name].data.tobytes()
            assert theirs.get_slice(name).get_dtype() == ours.tensors[name].dtype


def test_a_file_that_the_library_wrote_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    kinds = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    safetensors.numpy.save_file(arrays, path, {"k": "v"})
    file = read_safetensors(path)
    assert {name: one.data.tobytes() for name, one in file.tensors.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_type_takes_the_bits_that_the_library_says(save, dtype):
    """24 elements fill whole bytes at every width; one byte more or less is refused by both."""
    right = 24 * DTYPE_BITS[dtype] // 8
    for size in (right - 1, right, right + 1):
        path = save(made.build({"w": (dtype, (2, 12), bytes(size))}))
        if size == right:
            assert read_safetensors(path).tensors["w"].data.size == right
            safe_open(path, framework="numpy").__enter__()
        else:
            assert code_of(path) == "E_SAFETENSORS_SIZE"
            with pytest.raises(SafetensorError):
                safe_open(path, framework="numpy").__enter__()


def code_of(path) -> str:
    with pytest.raises(FormatError) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    return caught.value.code


def test_every_truncation_is_a_format_error(save):
    codes = {code_of(save(FILE[:length])) for length in range(len(FILE))}
    assert codes == {"E_SAFETENSORS_TRUNCATED", "E_SAFETENSORS_RANGE"}


def entry(**changes: object) -> bytes:
    fields = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], **changes}
    kept = {key: one for key, one in fields.items() if one is not None}
    return made.with_header(json.dumps({"w": kept}).encode(), bytes(4))


def two(first: list[int], second: list[int], data: int) -> bytes:
    header = {
        name: {"dtype": "U8", "shape": [at[1] - at[0]], "data_offsets": at}
        for name, at in (("w", first), ("v", second))
    }
    return made.with_header(json.dumps(header).encode(), bytes(data))


W = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
DAMAGED = {
    "endless header": (struct.pack("<Q", 2**64 - 1) + b"{}", "E_SAFETENSORS_HEADER"),
    "long header": (struct.pack("<Q", 100_000_001) + b"{}", "E_SAFETENSORS_HEADER"),
    "header behind the end": (struct.pack("<Q", 3) + b"{}", "E_SAFETENSORS_TRUNCATED"),
    "no object": (made.with_header(b"[]"), "E_SAFETENSORS_HEADER"),
    "empty header": (made.with_header(b""), "E_SAFETENSORS_HEADER"),
    "space before": (made.with_header(b" {}"), "E_SAFETENSORS_HEADER"),
    "newline behind": (made.with_header(b"{}\n"), "E_SAFETENSORS_HEADER"),
    "two objects": (made.with_header(b"{}{}"), "E_JSON_SYNTAX"),
    "not UTF-8": (made.with_header(b'{"\xff":1}'), "E_JSON_UTF8"),
    "a name twice": (made.with_header(W + b"," + W[1:] + b"}", bytes(4)), "E_JSON_DUP"),
    "a key twice": (
        made.with_header(W[:-1] + b',"dtype":"I8"}}', bytes(4)), "E_JSON_DUP"
    ),
    "NaN": (made.with_header(b'{"w":NaN}'), "E_JSON_SYNTAX"),
    "deep": (made.with_header(b'{"w":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "E_JSON_DEPTH"),
    "a number of 10000 digits": (
        made.with_header(b'{"w":' + b"9" * 10_000 + b"}"),
        "E_JSON_SYNTAX",
    ),
    "metadata not texts": (made.with_header(b'{"__metadata__":{"a":1}}'), "E_SAFETENSORS_HEADER"),
    "entry no object": (made.with_header(b'{"w":1}'), "E_SAFETENSORS_ENTRY"),
    "extra key": (entry(quant="q4"), "E_SAFETENSORS_ENTRY"),
    "missing key": (entry(dtype=None), "E_SAFETENSORS_ENTRY"),
    "dtype a number": (entry(dtype=5), "E_SAFETENSORS_ENTRY"),
    "negative axis": (entry(shape=[-4]), "E_SAFETENSORS_ENTRY"),
    "axis true": (entry(shape=[True]), "E_SAFETENSORS_ENTRY"),
    "axis 4.0": (entry(shape=[4.0]), "E_SAFETENSORS_ENTRY"),
    "axis 2^64": (entry(shape=[2**64]), "E_SAFETENSORS_ENTRY"),
    "33 axes": (entry(shape=[1] * 33), "E_SAFETENSORS_ENTRY"),
    "product wraps": (entry(shape=[2**32, 2**32, 4]), "E_SAFETENSORS_ENTRY"),
    "zero hides a wrap": (entry(shape=[0, 2**62], data_offsets=[0, 0]), "E_SAFETENSORS_ENTRY"),
    "offsets swapped": (entry(data_offsets=[4, 0]), "E_SAFETENSORS_ENTRY"),
    "one offset": (entry(data_offsets=[4]), "E_SAFETENSORS_ENTRY"),
    "size too small": (entry(shape=[3]), "E_SAFETENSORS_SIZE"),
    "behind the end": (entry(shape=[5], data_offsets=[0, 5]), "E_SAFETENSORS_RANGE"),
    "starts late": (entry(shape=[3], data_offsets=[1, 4]), "E_SAFETENSORS_RANGE"),
    "a hole": (two([0, 4], [8, 12], 12), "E_SAFETENSORS_RANGE"),
    "overlap": (two([0, 4], [2, 6], 6), "E_SAFETENSORS_RANGE"),
    "the same bytes": (two([0, 4], [0, 4], 4), "E_SAFETENSORS_RANGE"),
    "bytes left over": (two([0, 4], [4, 6], 7), "E_SAFETENSORS_RANGE"),
    "bytes without tensors": (made.with_header(b"{}", b"x"), "E_SAFETENSORS_RANGE"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DAMAGED)
def test_each_defect_has_its_code(save, defect):
    data, code = DAMAGED[defect]
    assert code_of(save(data)) == code


@pytest.mark.parametrize("defect", ["endless header", "long header", "behind the end"])
def test_no_count_makes_the_reader_allocate(save, defect):
    path = save(DAMAGED[defect][0])
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_unknown_type_is_unsupported(save):
    with pytest.raises(UnsupportedError, match="F12"):
        read_safetensors(save(entry(dtype="F12")))


def test_control_characters_in_names_are_escaped(save):
    data = made.build({"\x1b[2J": ("U8", (4,), bytes(3))})
    with pytest.raises(FormatError) as caught:
        read_safetensors(save(data))
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2J" in str(caught.value)
