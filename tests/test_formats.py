import gzip
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from refquant.errors import FormatError, RefquantError, UnsupportedError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.mapped import let_go, map_file
from tests import gguf_bytes, safetensors_bytes


def failure(path) -> RefquantError:
    with pytest.raises(RefquantError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return caught.value


FOREIGN = {
    "pickle": (pickle.dumps({"w": [1.0]}), "pickle"),
    "old pickle": (pickle.dumps({"w": [1.0]}, protocol=2), "pickle"),
    "safetensors": (safetensors_bytes.build({"w": ("U8", (1,), b"1")}), "its directory"),
    "ONNX": (b"\x08\x0a\x12\x07pytorch\x1a\x03" + b"2.3" + bytes(99), "ONNX"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(64), "TensorFlow Lite"),
    "gzip": (gzip.compress(b"x"), "gzip"),
    "text": ("été, a text\n".encode() * 50, "text file"),
    "short text": (b"hi", "text file"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "noise": (bytes(range(128, 256)), "no file of a kind known here"),
    "ggml": (struct.pack("<II", 0x67676D66, 1), "older than GGUF"),
    "text-mode .rq": (b"\x89RQF\n\x1a\n" + bytes(64), "text mode"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_kinds_are_unsupported_and_say_what_to_do(tmp_path, kind):
    path = tmp_path / "x.gguf"
    data, words = FOREIGN[kind]
    path.write_bytes(data)
    error = failure(path)
    assert isinstance(error, UnsupportedError)
    assert words in str(error)


def test_a_zip_archive_is_pointed_to_torch(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    error = failure(path)
    assert isinstance(error, UnsupportedError)
    assert "torch" in str(error)


def test_paths_that_cannot_be_opened_are_usage_errors(tmp_path):
    assert isinstance(failure(tmp_path / "missing"), UsageError)
    (tmp_path / "file").write_text("x")
    assert isinstance(failure(tmp_path / "file" / "below"), UsageError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(failure(tmp_path / "pipe"), UsageError)


def test_an_empty_file_is_damaged(tmp_path):
    path = tmp_path / "model.rq"
    path.write_bytes(b"")
    assert isinstance(failure(path), FormatError)


def test_a_name_decides_nothing(tmp_path):
    path = tmp_path / "model.txt"
    path.write_bytes(gguf_bytes.build())
    assert list(open_checkpoint(path).tensors) == []


@pytest.mark.parametrize("magic", [b"GGUF", b"\x89RQF\r\n\x1a\n"])
def test_a_file_that_ends_behind_its_magic_is_damaged(tmp_path, magic):
    path = tmp_path / "model"
    for length in range(len(magic), len(magic) + 20):
        path.write_bytes((magic + bytes([3]) + bytes(40))[:length])
        assert isinstance(failure(path), FormatError)


def test_a_directory_without_a_configuration_is_unsupported(tmp_path):
    assert isinstance(failure(tmp_path), UnsupportedError)


def test_what_is_let_go_is_read_again(tmp_path):
    data = np.arange(1 << 20, dtype=np.uint8)
    (tmp_path / "x").write_bytes(data.tobytes())
    mapped = map_file(tmp_path / "x")
    part = mapped[5000:900_001].reshape(1, -1)
    for array in (part, mapped, part[:, 7:], data, np.zeros(4)):
        let_go(array)
    assert np.array_equal(mapped, data)
    assert np.array_equal(part[0], data[5000:900_001])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_what_is_let_go_is_no_longer_in_memory(tmp_path):
    (tmp_path / "x").write_bytes(bytes(64 << 20))
    mapped = map_file(tmp_path / "x")

    def resident():
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

    before = resident()
    assert mapped.sum() == 0
    assert resident() - before > 60_000
    let_go(mapped[: 48 << 20])
    assert resident() - before < 20_000
