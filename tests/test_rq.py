"""Reading and writing `.rq`: the chapter's bytes, round trips, laziness, noise."""

import os
import re
import struct
import zlib
from hashlib import sha256

import numpy as np
import pytest

import refquant
from conformance.container.parts import build, compressed_example, example
from refquant.architectures import Architecture
from refquant.errors import FormatError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.rq import read, read_header, tensors_digest, write_checkpoint
from refquant.formats.rq.source import FileSource
from tests.conftest import REPOSITORY

CHAPTER = (REPOSITORY / "spec" / "02-container.md").read_text("utf-8")


def small_checkpoint():
    tensor = refquant.quantize(np.array([1, -2, 0.5], np.float32), "float/f32")
    return Checkpoint(None, {"b": tensor}, {}, None, {}, {})


def varied_checkpoint():
    rng = np.random.default_rng(7)
    weights = rng.standard_normal((48, 128)).astype(np.float32)
    names = ["q4_0", "q8_0", "float/f32", "bf16", "int8", "int/affine[bits=3,asym,group=64]"]
    tensors = {f"blk.{i}.w": refquant.quantize(weights, name) for i, name in enumerate(names)}
    tensors["turned"] = refquant.quantize(weights.T.copy(), "int4", axis=0)
    tensors["norm"] = refquant.quantize(weights[0], "float/f32")
    tensors["é"] = refquant.quantize(weights.reshape(2, 3, 8, 128), "q4_0")
    documents = {
        "chat": Document("chat", "text/x-jinja", b"{{ x }}"),
        "empty": Document("empty", "text/plain; charset=utf-8", b""),
    }
    return Checkpoint(
        Architecture("llama", {"layers": 2, "rope_theta": 1e4, "tied_embeddings": True}),
        tensors,
        {"output.weight": "blk.0.w", "also": "é"},
        TokenizerSpec(
            "bpe-bytelevel-1", b"[" + b'{"a": 1}, ' * 99 + b"0]", 1, (2, 5), add_bos=True
        ),
        documents,
        {"licence": "CC0-1.0", "recipe": {"rules": ["a", "b"]}},
    )


def assert_same(one, other):
    assert list(one.tensors) == sorted(other.tensors)
    for name in one.tensors:
        mine, theirs = one.tensors[name], other.tensors[name]
        assert (mine.scheme.name, mine.shape, mine.axis) == (
            theirs.scheme.name,
            theirs.shape,
            theirs.axis,
        )
        assert mine.planes.keys() == theirs.planes.keys()
        for plane in mine.planes:
            assert np.array_equal(mine.planes[plane], theirs.planes[plane])
    assert dict(one.documents) == dict(other.documents)
    for field in ("architecture", "aliases", "tokenizer", "info"):
        assert getattr(one, field) == getattr(other, field)


def test_the_chapters_smallest_file(tmp_path):
    (dump,) = re.findall(r"^```text\n(0000 .*?)^```", CHAPTER, re.DOTALL | re.MULTILINE)
    rows = [re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)", line) for line in dump.splitlines()]
    assert [int(row[1], 16) for row in rows] == list(range(0, 16 * len(rows), 16))
    golden = bytes.fromhex("".join(row[2] for row in rows))
    path = tmp_path / "small.rq"
    write_checkpoint(path, small_checkpoint())
    assert path.read_bytes() == golden
    path.write_bytes(golden)
    assert read(path, verify="full").tensors["b"].dequantize().tolist() == [1.0, -2.0, 0.5]
    assert f"in {len(golden)} bytes" in CHAPTER


def test_checksum_of_the_chapter():
    assert f"`{zlib.crc32(b'123456789'):08x}`" in CHAPTER


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("use_mmap", [True, False], ids=["mapped", "read"])
@pytest.mark.parametrize("verify", ["fast", "full", "trust"])
def test_round_trip(compression, use_mmap, verify, tmp_path):
    path = tmp_path / "model.rq"
    checkpoint = varied_checkpoint()
    root = write_checkpoint(path, checkpoint, compression=compression)
    found = read(path, verify=verify, use_mmap=use_mmap)
    assert_same(found, checkpoint)
    contents = read_header(path)
    assert contents.problem is None
    assert contents.root == root
    assert contents.preamble.feature_names == (("zstd",) if compression else ())


def test_tensors_digest_outlives_compression_and_info(tmp_path):
    checkpoint = varied_checkpoint()
    expected = tensors_digest(checkpoint)
    for compression in (None, "zstd"):
        write_checkpoint(tmp_path / "a.rq", checkpoint, compression=compression)
        assert tensors_digest(read(tmp_path / "a.rq")) == expected
    changed = dict(checkpoint.tensors)
    changed["norm"] = refquant.quantize(np.zeros(128, np.float32), "float/f32")
    other = Checkpoint(None, changed, {}, None, {}, {})
    assert tensors_digest(other) != expected


def test_the_front_door_knows_the_format(tmp_path):
    path = tmp_path / "no-ending"
    write_checkpoint(path, small_checkpoint())
    assert open_checkpoint(path).tensors["b"].shape == (3,)


def test_raw_planes_are_views_of_the_mapping(tmp_path):
    path = tmp_path / "model.rq"
    write_checkpoint(path, varied_checkpoint())
    for tensor in read(path).tensors.values():
        for plane in tensor.planes.values():
            assert not plane.flags.writeable
            assert not plane.flags.owndata
            assert plane.ctypes.data % 64 == 0


def test_opening_reads_front_matter_only(tmp_path, monkeypatch):
    """A file of 3 GB in shape, mostly a hole: what is read is preamble, table and header."""
    parts = example()
    tensors = [
        {"name": f"t{i:03}", "planes": {"blocks": [i + 1]}, "scheme": 0, "shape": [4096, 4096]}
        for i in range(300)
    ]
    parts.header = {
        "core": {"docs": [], "schemes": parts.header["core"]["schemes"][:1], "tensors": tensors},
        "info": {},
    }
    parts.payloads = []
    path = tmp_path / "large.rq"
    size = 4096 * 4096 // 32 * 18
    write_sparse(path, parts.header, [size] * 300)
    reads = []
    original = FileSource.read_at

    def counted(self, offset, length):
        reads.append((offset, length))
        return original(self, offset, length)

    monkeypatch.setattr(FileSource, "read_at", counted)
    checkpoint = read(path, verify="trust", use_mmap=False)
    front = 64 + 64 * 301 + len(refquant.mp1.encode(parts.header)) + 64
    assert all(offset + length <= front for offset, length in reads)
    reads.clear()
    assert checkpoint.tensors["t007"].nbytes == size
    assert len(reads) == 1
    assert reads[0][1] == size


def write_sparse(path, header, sizes):
    """A valid file whose planes are holes; their checksums are wrong and not looked at."""
    data = refquant.mp1.encode(header)
    entries = [(64 + 64 * (len(sizes) + 1), len(data), zlib.crc32(data), 0, sha256(data).digest())]
    for size in sizes:
        offset = (entries[-1][0] + entries[-1][1] + 63) // 64 * 64
        entries.append((offset, size, 0, 1, bytes(32)))
    table = b"".join(
        struct.pack("<QQQIBBH32s", offset, size, size, crc, 0, kind, 0, digest)
        for offset, size, crc, kind, digest in entries
    )
    end = entries[-1][0] + entries[-1][1]
    fixed = struct.pack("<8sHHIQII", b"\x89RQF\r\n\x1a\n", 1, 0, 0, end, len(entries), 0)
    with path.open("wb") as file:
        file.write(fixed + sha256(fixed + table).digest() + table + data)
        file.truncate(end)


def test_a_damaged_tensor_leaves_the_others_readable(tmp_path):
    path = tmp_path / "model.rq"
    parts = example()
    parts.patches[len(build(parts)) - 1] = 1
    path.write_bytes(build(parts))
    checkpoint = read(path)
    assert checkpoint.tensors["a"].dequantize().shape == (2, 32)
    with pytest.raises(FormatError, match="'b', plane 'scales'"):
        checkpoint.tensors["b"]
    with pytest.raises(FormatError):
        read(path, verify="full")
    assert read(path, verify="trust").tensors["b"].shape == (2, 3)


def test_a_label_is_not_believed(tmp_path):
    path = tmp_path / "model.rq"
    for labels in (["ggml/q8_0", "int/affine[bits=99]"], ["é" * 9000, 3], "x", [1.5], [[], {}]):
        parts = example()
        parts.header["info"]["labels"] = labels
        path.write_bytes(build(parts))
        tensor = read(path).tensors["a"]
        assert tensor.scheme.name == "ggml/q4_0"


def test_a_file_that_shrinks_while_open(tmp_path):
    path = tmp_path / "model.rq"
    write_checkpoint(path, varied_checkpoint())
    checkpoint = read(path, use_mmap=False)
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(FormatError) as error:
        checkpoint.tensors["é"]
    assert error.value.code == "E_LENGTH"


def test_a_budget_can_be_set(tmp_path):
    path = tmp_path / "model.rq"
    path.write_bytes(build(compressed_example()))
    with pytest.raises(FormatError) as error:
        read(path, budget=4095)
    assert error.value.code == "E_BUDGET"
    assert read(path, budget=4096).tensors["a"].shape == (4096,)


@pytest.mark.parametrize("verify", ["Full", "", None])
def test_verify_levels_have_names(verify, tmp_path):
    path = tmp_path / "model.rq"
    path.write_bytes(build(example()))
    with pytest.raises(UsageError):
        read(path, verify=verify)


def test_paths_that_cannot_be_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent.rq", tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError):
            read(path)


def test_inspection_of_what_cannot_be_read(tmp_path):
    path = tmp_path / "model.rq"
    parts = example()
    parts.preamble["features"] = 1 << 9
    path.write_bytes(build(parts))
    contents = read_header(path)
    assert contents.problem.code == "E_FEATURE"
    assert contents.preamble.feature_names == ("bit 9",)
    assert [tensor.name for tensor in contents.header.tensors] == ["a", "b"]
    parts = example()
    parts.header["core"]["schemes"][1]["rqd"] = 2
    path.write_bytes(build(parts))
    contents = read_header(path)
    assert contents.problem.code == "E_DESC_VERSION"
    assert contents.header is None
    assert contents.document["core"]["tensors"][1]["shape"] == [2, 3]
    path.write_bytes(b"")
    assert read_header(path).problem.code == "E_SIZE"
