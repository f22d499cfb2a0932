"""Opening a large file reads its front matter only, and a tensor its own segments only."""

import time
from pathlib import Path

import pytest

from bench.container import ONE, mapped_bytes, sparse_rq
from refquant.formats.rq import read, source

# A fault brings in the pages around it, up to 64 KiB aligned; and the page at either end is whole.
AROUND = 1 << 16


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 8.5 GB that takes no disk, and the bytes before its first tensor."""
    path = tmp_path_factory.mktemp("large") / "large.rq"
    front = sparse_rq(path)
    assert path.stat().st_size > 8e9
    if path.stat().st_blocks * 512 > 1e6:
        pytest.skip("this file system keeps no holes")
    yield path, front
    path.unlink()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_a_mapped_file_is_touched_where_it_is_asked(large):
    path, front = large
    checkpoint = read(path)
    opened = mapped_bytes(path)
    assert 0 < opened <= front + AROUND
    assert len(checkpoint.tensors) == 226
    tensor = checkpoint.tensors[ONE]
    more = mapped_bytes(path) - opened
    assert tensor.nbytes <= more <= tensor.nbytes + 2 * AROUND


def test_a_file_is_read_where_it_is_asked(large, monkeypatch):
    path, front = large
    asked = []
    plain = source.FileSource.read_at

    def noted(self, offset, length):
        asked.append((offset, length))
        return plain(self, offset, length)

    monkeypatch.setattr(source.FileSource, "read_at", noted)
    checkpoint = read(path, use_mmap=False)
    assert max(offset + length for offset, length in asked) <= front
    asked.clear()
    size = checkpoint.tensors[ONE].nbytes
    assert sum(length for _, length in asked) == size


def test_opening_takes_less_than_50_milliseconds(large):
    path, _ = large
    took = []
    for _ in range(5):
        start = time.thread_time()
        read(path)
        took.append(time.thread_time() - start)
    assert min(took) < 0.05
