"""The `.rq` writer: canonical bytes, all or nothing, bounded memory."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.architectures import Architecture
from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint, Document, TokenizerSpec
from refquant.formats.rq import (
    Plan,
    PlannedTensor,
    atomic,
    atomic_file,
    limits,
    plan_checkpoint,
    read,
    read_header,
    segment_writer,
    write_checkpoint,
    zstd_frames,
)
from refquant.formats.rq.plan import cut
from refquant.formats.rq.write import write
from refquant.layout import Layout, Plane, Unsigned, field
from tests.conftest import REPOSITORY
from tests.test_rq import assert_same, varied_checkpoint

LAYOUT = refquant.scheme("float/f32").layout


def planned(name, data=bytes(8), shape=(2,), **more):
    return PlannedTensor(name, LAYOUT, shape, lambda: {"values": data}, **more)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def left_behind(folder):
    return [name for name in names(folder) if name.startswith(".refquant-")]


# ------------------------------------------------------------------- canonical bytes


def test_the_order_of_insertion_does_not_matter(tmp_path):
    base = varied_checkpoint()
    write_checkpoint(tmp_path / "a.rq", base)

    def turned(mapping):
        return dict(reversed(mapping.items()))

    other = Checkpoint(
        Architecture("llama", turned(base.architecture.fields)),
        turned(base.tensors),
        turned(base.aliases),
        base.tokenizer,
        turned(base.documents),
        turned(base.info),
    )
    write_checkpoint(tmp_path / "b.rq", other)
    assert (tmp_path / "a.rq").read_bytes() == (tmp_path / "b.rq").read_bytes()


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_writing_what_was_read_gives_the_same_bytes(compression, tmp_path):
    first, second, raw = tmp_path / "1.rq", tmp_path / "2.rq", tmp_path / "3.rq"
    write_checkpoint(first, varied_checkpoint(), compression=compression)
    write_checkpoint(second, read(first), compression=compression)
    assert first.read_bytes() == second.read_bytes()
    write_checkpoint(raw, read(first))
    write_checkpoint(first, varied_checkpoint())
    assert raw.read_bytes() == first.read_bytes()


def test_the_hash_seed_does_not_matter(tmp_path):
    script = (
        "from tests.test_rq import varied_checkpoint; import sys;"
        "from refquant.formats.rq import write_checkpoint;"
        "print(write_checkpoint(sys.argv[1], varied_checkpoint()))"
    )
    roots = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / f"{seed}.rq")],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert roots == {write_checkpoint(tmp_path / "here.rq", varied_checkpoint()) + "\n"}


def test_what_does_not_shrink_is_written_raw(tmp_path, monkeypatch):
    # A small cut stands for the real one, so that a plane of some kilobytes is cut.
    for module in ("plan", "references", "segments"):
        monkeypatch.setattr(f"refquant.formats.rq.{module}.ZSTD_CUT", 1024)
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8)
    plain = np.zeros(4096, np.uint8)
    path = tmp_path / "a.rq"
    plan = Plan([planned("a", noise, (1024,))])
    assert write(path, plan, compression="zstd") == write(path, plan)
    assert [segment.raw_length for segment in read_header(path).segments[1:]] == [4096]
    write(
        path, Plan([planned("a", noise, (1024,)), planned("b", plain, (1024,))]), compression="zstd"
    )
    segments = read_header(path).segments[1:]
    assert [segment.raw_length for segment in segments] == [1024] * 8
    assert [segment.codec for segment in segments] == [0] * 4 + [1] * 4
    for use_mmap in (True, False):
        tensors = read(path, verify="full", use_mmap=use_mmap).tensors
        assert np.array_equal(tensors["a"].planes["values"].reshape(-1), noise)
        assert np.array_equal(tensors["b"].planes["values"].reshape(-1), plain)


def test_cuts():
    size = limits.ZSTD_CUT
    assert cut(2 * size, compressed=False) == [2 * size]
    assert cut(2 * size, compressed=True) == [size, size]
    assert cut(size + 1, compressed=True) == [size, 1]
    assert cut(0, compressed=True) == cut(0, compressed=False) == []


# ------------------------------------------------------------------- plans that cannot be


@pytest.mark.parametrize(
    "plan",
    [
        Plan([planned("a"), planned("a")]),
        Plan([planned("")]),
        Plan([planned("a\n")]),
        Plan([planned("\ud800")]),
        Plan([planned("a", shape=(0,))]),
        Plan([planned("a", shape=())]),
        Plan([planned("a", shape=(3,))]),
        Plan([PlannedTensor("a", LAYOUT, (2,), dict)]),
        Plan([PlannedTensor("a", LAYOUT, (2,), lambda: {"values": np.zeros(8, np.int8)})]),
        Plan([planned("a")], aliases={"a": "a"}),
        Plan([planned("a")], aliases={"b": "c"}),
        Plan([planned("a")], info={"When": 1}),
        Plan([planned("a")], info={"when": None}),
        Plan([planned("a")], info={"x": float("nan")}),
        Plan([], documents={"x": Document("x", "no media type", b"")}),
        Plan(
            [],
            tokenizer=TokenizerSpec("bpe", b"{}", None, (), add_bos=False),
            documents={"x": Document("tokenizer.json", "application/json", b"[]")},
        ),
    ],
)
def test_a_plan_that_no_reader_would_accept(plan, tmp_path):
    path = tmp_path / "a.rq"
    path.write_bytes(b"old")
    with pytest.raises(UsageError):
        write(path, plan)
    assert path.read_bytes() == b"old"
    assert not left_behind(tmp_path)


def test_a_tokenizer_and_its_own_document(tmp_path):
    text = b'{"x": 1}'
    document = Document("tokenizer.json", "application/json", text)
    tokenizer = TokenizerSpec("bpe", text, None, (7, 7, 2), add_bos=False)
    write(tmp_path / "a.rq", Plan([], tokenizer=tokenizer, documents={"t": document}))
    checkpoint = read(tmp_path / "a.rq")
    assert checkpoint.tokenizer.json == text
    assert checkpoint.tokenizer.eos == (2, 7)
    assert not checkpoint.documents


def test_compression_levels(tmp_path):
    for level in (0, 20):
        with pytest.raises(ValueError, match="level"):
            write(tmp_path / "a.rq", Plan([planned("a")]), compression="zstd", level=level)
    assert zstd_frames.library_version().count(".") == 2


# ------------------------------------------------------------------- all or nothing


class WriterError(Exception):
    pass


def refuse(*_):
    raise WriterError


def opened_on_a_full_disk(descriptor, mode):
    file = open(descriptor, mode)  # noqa: PTH123, SIM115 (a descriptor, closed by the writer)
    allowed = itertools.count(20_000, -3000)

    class Full:
        def write(self, data):
            if next(allowed) < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")
            return file.write(data)

        def __getattr__(self, name):
            return getattr(file, name)

    return Full()


FAILURES = {
    "producer": (PlannedTensor, "produce", refuse, WriterError),
    "replace": (Path, "replace", refuse, WriterError),
    "fsync": (atomic.os, "fsync", refuse, WriterError),
    "full disk": (atomic.os, "fdopen", opened_on_a_full_disk, OSError),
}


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_the_old_file(name, compression, tmp_path, monkeypatch):
    path = tmp_path / "a.rq"
    write(path, Plan([planned("a")]))
    old = path.read_bytes()
    plan = plan_checkpoint(varied_checkpoint())
    owner, attribute, replacement, expected = FAILURES[name]
    with monkeypatch.context() as patch:
        if name == "producer":
            plan = Plan([*plan.tensors, PlannedTensor("zz", LAYOUT, (2,), refuse)])
        else:
            patch.setattr(owner, attribute, replacement)
        with pytest.raises(expected):
            write(path, plan, compression=compression)
    assert path.read_bytes() == old
    assert names(tmp_path) == ["a.rq"]


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.rq"
    path.write_bytes(b"old")

    def half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.rq"]


def test_a_killed_writer(tmp_path):
    """The old file stays, and the next writer removes what the dead one left."""
    path = tmp_path / "a.rq"
    write(path, Plan([planned("a")]))
    old = path.read_bytes()
    script = """
        import sys, time
        from refquant.formats.rq import Plan
        from refquant.formats.rq.write import write
        from tests.test_rq_write import planned, PlannedTensor, LAYOUT

        def produce():
            print("half", flush=True)
            time.sleep(60)

        late = PlannedTensor("z", LAYOUT, (2,), produce)
        write(sys.argv[1], Plan([planned("a", bytes(4 << 20), (1 << 20,)), late]))
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "half\n"
        # While it lives, its file is left alone.
        atomic.remove_abandoned(tmp_path)
        assert len(left_behind(tmp_path)) == 1
        child.send_signal(signal.SIGKILL)
    assert path.read_bytes() == old
    assert len(left_behind(tmp_path)) == 1
    write(tmp_path / "b.rq", Plan([planned("b")]))
    assert not left_behind(tmp_path)
    assert path.read_bytes() == old


def test_only_own_temporary_files_are_removed(tmp_path):
    for name in (".refquant-x.partial", "a.partial", ".refquant-" + "0" * 32, "b.rq"):
        (tmp_path / name).touch()
    (tmp_path / (".refquant-" + "a" * 32 + ".partial")).mkdir()
    before = names(tmp_path)
    write(tmp_path / "c.rq", Plan([planned("a")]))
    assert sorted([*before, "c.rq"]) == names(tmp_path)


def test_two_writers_at_once(tmp_path):
    with atomic_file(tmp_path / "a") as one:
        with atomic_file(tmp_path / "a") as other:
            other.write(b"other")
        one.write(b"one")
        assert (tmp_path / "a").read_bytes() == b"other"
    assert (tmp_path / "a").read_bytes() == b"one"
    assert not left_behind(tmp_path)


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    target, link = tmp_path / "a.rq", tmp_path / "b.rq"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link, Plan([planned("a")]))
    assert target.read_bytes() == b"old"
    assert not link.is_symlink()
    assert read(link).tensors["a"].shape == (2,)


def test_readers_keep_the_file_they_opened(tmp_path):
    path = tmp_path / "a.rq"
    write(path, Plan([planned("a", bytes(range(8)))]))
    checkpoint = read(path)
    write(path, Plan([planned("a", bytes(8))]))
    assert checkpoint.tensors["a"].planes["values"].tobytes() == bytes(range(8))
    # So a file may be converted onto itself.
    write_checkpoint(path, read(path))
    assert_same(read(path), read(path, use_mmap=False))


@pytest.mark.parametrize("place", [".", "absent/a.rq", "pipe", "link"])
def test_places_that_cannot_be_written(place, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(UsageError, match="cannot write"):
        write(tmp_path / place, Plan([planned("a")]))
    assert names(tmp_path) == ["link", "pipe"]


# ------------------------------------------------------------------- memory and order


def test_memory_is_bounded_by_one_tensor(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_writer, "AHEAD", 1 << 18)
    size, count = 1 << 20, 12
    asked = []

    def tensor(number):
        def produce():
            asked.append(number)
            return {"values": np.full(size, number, np.uint8)}

        return PlannedTensor(f"t{number:02}", LAYOUT, (size // 4,), produce)

    plan = Plan([tensor(number) for number in reversed(range(count))])
    written = []
    tracemalloc.start()
    try:
        write(tmp_path / "a.rq", plan, progress=lambda name, size: written.append((name, size)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert asked == list(range(count))
    assert written == [(f"t{number:02}", size) for number in range(count)]
    assert peak < 2.5 * size


def test_codes_that_no_reader_accepts_are_not_written(tmp_path):
    layout = Layout({"p": Plane((1,), 1)}, {"q": field("p", Unsigned(7), "0")}, "q")
    planned = PlannedTensor("w", layout, (3,), lambda: {"p": b"\x01\x80\x02"})
    with pytest.raises(UsageError, match="E_CODE_PAD"):
        write(tmp_path / "a.rq", Plan((planned,)))
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a.rq", Plan((PlannedTensor("w", layout, (3,), lambda: {"p": b"abc"}),)))
