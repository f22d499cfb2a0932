"""Writing sharded models: the split, names, nothing half done, what is opened when."""

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

from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import (
    Plan,
    plan,
    read,
    read_header,
    references,
    segment_writer,
    segments,
    tensors_digest,
    why_not_canonical,
    write_checkpoint,
)
from refquant.formats.rq.journal import Journal
from refquant.formats.rq.limits import MAX_SHARDS
from refquant.formats.rq.source import open_source
from refquant.formats.rq.write import write
from tests.conftest import REPOSITORY
from tests.test_rq import assert_same, varied_checkpoint
from tests.test_rq_write import LAYOUT, PlannedTensor, WriterError, planned, refuse


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("size", [1, 9_000, 30_000, 66_000])
def test_a_split_model_is_the_same_model(size, compression, tmp_path):
    checkpoint = varied_checkpoint()
    path = tmp_path / "a.rq"
    root = write_checkpoint(path, checkpoint, compression=compression, shard_size=size)
    contents = read_header(path)
    assert contents.root == root
    assert len(names(tmp_path)) == 1 + len(contents.header.shards) > 1
    for verify in ("fast", "full", "trust"):
        found = read(path, verify=verify)
        assert_same(found, checkpoint)
    assert tensors_digest(found) == tensors_digest(checkpoint)
    assert why_not_canonical(open_source(path), found) is None
    write_checkpoint(tmp_path / "b.rq", found)
    write_checkpoint(tmp_path / "c.rq", checkpoint)
    assert (tmp_path / "b.rq").read_bytes() == (tmp_path / "c.rq").read_bytes()


def test_shards_are_no_longer_than_asked(tmp_path):
    checkpoint = varied_checkpoint()
    for size in (26_000, 33_333, 50_000):
        write_checkpoint(tmp_path / "a.rq", checkpoint, shard_size=size)
        shards = read_header(tmp_path / "a.rq").header.shards
        assert all((tmp_path / one.name).stat().st_size <= size for one in shards)


def test_what_fits_is_not_split(tmp_path):
    write_checkpoint(tmp_path / "a.rq", varied_checkpoint())
    size = (tmp_path / "a.rq").stat().st_size + 63
    write_checkpoint(tmp_path / "b.rq", varied_checkpoint(), shard_size=size)
    assert (tmp_path / "a.rq").read_bytes() == (tmp_path / "b.rq").read_bytes()
    write_checkpoint(tmp_path / "c.rq", Checkpoint(None, {}, {}, None, {}, {}), shard_size=1)
    assert names(tmp_path) == ["a.rq", "b.rq", "c.rq"]


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_the_same_model_is_split_into_the_same_bytes(compression, tmp_path):
    one = varied_checkpoint()
    backwards = dict(reversed(list(one.tensors.items())))
    other = Checkpoint(
        one.architecture, backwards, one.aliases, one.tokenizer, one.documents, one.info
    )
    found = []
    for number, checkpoint in enumerate((one, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_checkpoint(folder / "a.rq", checkpoint, shard_size=20_000, compression=compression)
        found.append(bytes_of(folder))
    assert found[0] == found[1]


def test_only_the_shard_of_a_tensor_is_opened(tmp_path):
    path = tmp_path / "a.rq"
    write_checkpoint(path, varied_checkpoint(), shard_size=9_000)
    last = read_header(path).header.shards[-1].name
    (tmp_path / last).unlink()
    found = read(path)
    assert found.tensors["blk.0.w"].shape == (48, 128)
    assert found.tokenizer.json
    with pytest.raises(FormatError, match="is not beside it") as error:
        found.tensors["é"]
    assert error.value.code == "E_SHARD_MISSING"
    with pytest.raises(FormatError):
        read(path, verify="full")


def test_a_link_to_a_shard_is_as_good(tmp_path):
    path = tmp_path / "a.rq"
    write_checkpoint(path, varied_checkpoint(), shard_size=20_000)
    (tmp_path / "blobs").mkdir()
    for number, shard in enumerate(read_header(path).header.shards):
        place = tmp_path / shard.name
        place.rename(tmp_path / "blobs" / str(number))
        place.symlink_to(Path("blobs") / str(number))
    assert_same(read(path, verify="full"), varied_checkpoint())


def test_a_pipe_in_place_of_a_shard(tmp_path):
    path = tmp_path / "a.rq"
    write_checkpoint(path, varied_checkpoint(), shard_size=20_000)
    place = tmp_path / read_header(path).header.shards[0].name
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(FormatError) as error:
        read(path, verify="full")
    assert error.value.code == "E_SHARD_MISSING"


def test_a_shard_alone_is_no_model(tmp_path):
    write_checkpoint(tmp_path / "a.rq", varied_checkpoint(), shard_size=20_000)
    shard = tmp_path / read_header(tmp_path / "a.rq").header.shards[0].name
    with pytest.raises(UnsupportedError, match="lists it"):
        read(shard)
    contents = read_header(shard)
    assert contents.problem is None
    assert contents.header.is_shard


def test_a_shard_from_a_newer_version_is_unsupported_and_named(tmp_path):
    corpus = REPOSITORY / "conformance" / "files" / "sharded" / "reject"
    with pytest.raises(UnsupportedError) as error:
        read(corpus / "a_shard_with_an_unknown_feature" / "model.rq", verify="full")
    assert any("first.rq" in note for note in error.value.__notes__)


@pytest.mark.parametrize("stem", ["nul", "a b", "..", "x" * 100, "é", "-a"])
def test_stems_that_make_no_safe_names(stem, tmp_path):
    path = tmp_path / f"{stem}.rq"
    with pytest.raises(UsageError, match="choose a name") if stem != "nul" else _fine():
        write_checkpoint(path, varied_checkpoint(), shard_size=20_000)


def _fine():
    """`nul-00001-...` is not the device `nul`."""
    from contextlib import nullcontext

    return nullcontext()


def test_too_many_shards(tmp_path):
    plan = Plan([planned(f"t{number:05}") for number in range(MAX_SHARDS + 1)])
    with pytest.raises(UsageError, match="4097 shards"):
        write(tmp_path / "a.rq", plan, shard_size=1)
    with pytest.raises(UsageError, match="expected 1 or more"):
        write(tmp_path / "a.rq", plan, shard_size=0)
    assert not names(tmp_path)


# ------------------------------------------------------------------- replacing, failing, dying


def plan_of(*tensors):
    return Plan([planned(name, bytes([value]) * 400, (100,)) for name, value in tensors])


OLD = plan_of(("a", 1), ("b", 2), ("c", 3))
NEW = plan_of(("a", 1), ("b", 9), ("d", 4), ("e", 5))


def test_a_replaced_set_leaves_nothing(tmp_path):
    path = tmp_path / "a.rq"
    write(path, NEW, shard_size=700)
    wanted = bytes_of(tmp_path)
    write(path, OLD, shard_size=700)
    write(path, NEW, shard_size=700)
    assert bytes_of(tmp_path) == wanted
    write(path, NEW)
    assert names(tmp_path) == ["a.rq"]


def test_shards_that_another_root_needs_stay(tmp_path):
    write(tmp_path / "a.rq", OLD, shard_size=700)
    (tmp_path / "copy.rq").write_bytes((tmp_path / "a.rq").read_bytes())
    write(tmp_path / "a.rq", NEW, shard_size=700)
    assert len(read(tmp_path / "copy.rq", verify="full").tensors) == 3
    assert len(read(tmp_path / "a.rq", verify="full").tensors) == 4


def test_a_set_may_be_written_over_what_it_is_read_from(tmp_path):
    path = tmp_path / "a.rq"
    write(path, OLD, shard_size=700)
    before = tensors_digest(read(path))
    write_checkpoint(path, read(path), shard_size=1300)
    assert len(names(tmp_path)) == 3
    assert tensors_digest(read(path, verify="full")) == before


@pytest.mark.parametrize(
    ("plan", "moment"), [*(("new", m) for m in range(8)), *(("old", m) for m in range(4))]
)
def test_a_failure_leaves_the_old_set(plan, moment, tmp_path, monkeypatch):
    """Fail at the first, second, ... of all renamings and journal entries."""
    path = tmp_path / "a.rq"
    write(path, OLD, shard_size=700)
    old = bytes_of(tmp_path)
    count = itertools.count()

    def failing(original):
        def call(*arguments):
            if next(count) == moment:
                raise WriterError
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(Path.replace))
        patch.setattr(Journal, "will_create", failing(Journal.will_create))
        with pytest.raises(WriterError):
            write(path, NEW if plan == "new" else OLD, shard_size=700)
    assert bytes_of(tmp_path) == old


def test_a_mistake_in_the_last_tensor_leaves_the_old_set(tmp_path):
    path = tmp_path / "a.rq"
    write(path, OLD, shard_size=700)
    old = bytes_of(tmp_path)
    late = PlannedTensor("z", LAYOUT, (2,), refuse)
    with pytest.raises(WriterError):
        write(path, Plan([*NEW.tensors, late]), shard_size=700)
    assert bytes_of(tmp_path) == old
    with pytest.raises(UsageError):
        write(path, Plan([*NEW.tensors, NEW.tensors[0]]), shard_size=700)
    assert bytes_of(tmp_path) == old


KILLED = """
    import itertools, os, signal, sys
    from pathlib import Path
    from refquant.formats.rq.write import write
    from tests.test_rq_shards import NEW

    moment, count = int(sys.argv[2]), itertools.count()

    def deadly(original):
        def call(*arguments, **options):
            if next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        return call

    for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
        setattr(owner, name, deadly(getattr(owner, name)))
    write(sys.argv[1], NEW, shard_size=700)
    print(next(count))
"""


@pytest.mark.slow
def test_a_writer_killed_at_every_step(tmp_path):
    """Before each renaming, removal and fsync: the old set or the new one, and then no trace."""
    steps = _killed_after(tmp_path, 10_000)
    assert 15 < steps < 60
    for moment in range(steps):
        folder = tmp_path / str(moment)
        folder.mkdir()
        assert _killed_after(folder, moment) is None
        path = folder / "a.rq"
        found = read(path, verify="full")
        assert list(found.tensors) in (["a", "b", "c"], ["a", "b", "d", "e"])
        write(folder / "other.rq", OLD)
        (folder / "other.rq").unlink()
        listed = {shard.name for shard in read_header(path).header.shards}
        assert set(names(folder)) == {"a.rq"} | listed, moment


def test_a_writer_killed_between_shards(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    steps = _killed_after(whole, 10_000)
    # In the middle of the shards, and when the root is there and old shards are being removed.
    for moment in (steps // 2, steps - 2):
        folder = tmp_path / str(moment)
        folder.mkdir()
        assert _killed_after(folder, moment) is None
        assert len(read(folder / "a.rq", verify="full").tensors) in (3, 4)
        write(folder / "other.rq", OLD)
        listed = {shard.name for shard in read_header(folder / "a.rq").header.shards}
        assert set(names(folder)) == {"a.rq", "other.rq"} | listed


def _killed_after(folder, moment):
    """Replace the old set and die before step `moment`; how many steps there were, None if dead."""
    write(folder / "a.rq", OLD, shard_size=700)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder / "a.rq"), str(moment)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_forged_journal_removes_nothing_else(tmp_path):
    for name in ("model.rq", "keep.txt", "other-00001-of-00001-0123456789abcdef.rq"):
        (tmp_path / name).write_bytes(b"x")
    lines = ["refquant shard set 1", "target a.rq", "new keep.txt", "new model.rq"]
    lines += ["new other-00001-of-00001-0123456789abcdef.rq", "new ../keep.txt", "old a.rq"]
    (tmp_path / f".refquant-{'0' * 32}.partial").write_text("\n".join(lines) + "\n")
    before = set(names(tmp_path))
    write(tmp_path / "b.rq", OLD)
    assert before - set(names(tmp_path)) == {f".refquant-{'0' * 32}.partial"}


# ------------------------------------------------------------------- memory


def test_copying_needs_few_pieces_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_writer, "AHEAD", 1 << 20)
    size = 8 << 20
    tensor = PlannedTensor("t", LAYOUT, (size // 4,), lambda: {"values": bytes(size)})
    write(tmp_path / "a.rq", Plan([tensor]))
    for options in ({"use_mmap": False}, {"use_mmap": True}):
        tracemalloc.start()
        try:
            write_checkpoint(tmp_path / "b.rq", read(tmp_path / "a.rq", **options))
            digest = tensors_digest(read(tmp_path / "b.rq", verify="full", **options))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < size // 2
    assert digest == tensors_digest(read(tmp_path / "a.rq"))
    assert np.array_equal(
        read(tmp_path / "b.rq").tensors["t"].planes["values"],
        read(tmp_path / "a.rq").tensors["t"].planes["values"],
    )


def test_a_check_decodes_one_segment_at_a_time(tmp_path, monkeypatch):
    """A plane of nine segments is checked and copied with room for little more than one."""
    for module in (plan, references, segments):
        monkeypatch.setattr(module, "ZSTD_CUT", 1 << 20)
    monkeypatch.setattr(segment_writer, "AHEAD", 1 << 20)
    size = 9 << 20
    tensor = PlannedTensor("t", LAYOUT, (size // 4,), lambda: {"values": bytes(size)})
    write(tmp_path / "z.rq", Plan([tensor]), compression="zstd")
    assert len(read_header(tmp_path / "z.rq").segments) == 10
    tracemalloc.start()
    try:
        found = read(tmp_path / "z.rq", verify="full")
        tensors_digest(found)
        write_checkpoint(tmp_path / "a.rq", found)
        copied = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert found.tensors["t"].nbytes == size
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert copied < 4 << 20
    assert whole < size + (4 << 20)


def test_the_names_of_shards(tmp_path):
    path = tmp_path / "my.model.rq"
    write(path, OLD, shard_size=700)
    shards = read_header(path).header.shards
    for number, shard in enumerate(shards, 1):
        digest = (tmp_path / shard.name).read_bytes()[32:40].hex()
        assert shard.name == f"my.model-{number:05}-of-{len(shards):05}-{digest}.rq"
