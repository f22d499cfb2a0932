"""Writers that are killed, and full disks: the file before stays whole, and nothing else stays."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from hashlib import sha256

import pytest

from tests import rq_writer
from tests.conftest import REPOSITORY

SEED = 20_261_121

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")


class Writer:
    """`rq_writer.py` at work in a folder."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests" / "rq_writer.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
        )

    def write(self, form, number, kill_after=None, largest=0):
        """The exit status of one write, which is killed after some seconds or finds no room."""
        child = self.ask(f"{form} {number} {largest}")
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        return self.ask("how did it end?")

    def ask(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def writer(folder):
    found = Writer(folder)
    try:
        yield found
    finally:
        found.process.stdin.close()
        assert found.process.wait() == 0
        found.process.stdout.close()


def versions(process, folder, form, numbers):
    """The whole folder's bytes after each version, and how long writing took at most."""
    found, took = {}, 0.0
    # The first answer waits for the interpreter too.
    assert process.write(form, 0) == 0
    for number in numbers:
        start = time.monotonic()
        assert process.write(form, number) == 0
        took = max(took, time.monotonic() - start)
        found[number] = contents(folder)
    return found, took


def contents(folder):
    """The digest of every file but the temporary ones."""
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if not path.name.startswith(".refquant-")
    }


def has(found, version):
    """Whether all files of a version are there, and whole."""
    return version.items() <= found.items()


def left_behind(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".refquant-")]


def kill_writers(folder, form, kills, seed):
    """How many were killed before the new file was there, and how many left something behind."""
    numbers = range(3)
    chance, now, before, remains = random.Random(seed), numbers[-1], 0, 0
    with writer(folder) as process:
        whole, took = versions(process, folder, form, numbers)
        for _ in range(kills):
            number = chance.choice([n for n in numbers if n != now])
            status = process.write(form, number, kill_after=chance.uniform(0, 1.5 * took))
            assert status in (-signal.SIGKILL, 0)
            found = contents(folder)
            is_new = has(found, whole[number])
            assert is_new or has(found, whole[now])
            # Shards of no model may stand there until the next writer begins; nothing else may.
            assert len(found) == 1 or form == "sharded"
            # A writer removes what those before it left: its own file, and where it has one its
            # journal, are all that there can be.
            assert len(left_behind(folder)) <= (2 if form == "sharded" else 1)
            remains += bool(left_behind(folder))
            before += not is_new
            now = number if is_new else now
        assert process.write(form, now) == 0
    assert contents(folder) == whole[now]
    assert not left_behind(folder)
    return before, remains


@pytest.mark.parametrize("form", rq_writer.FORMS)
def test_killed_writers(form, tmp_path):
    """Four kills prove no count, which is a matter of speed; the two hundred below do."""
    kill_writers(tmp_path, form, 4, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("form", rq_writer.FORMS)
def test_two_hundred_killed_writers(form, tmp_path):
    before, remains = kill_writers(tmp_path, form, 200, SEED)
    print(f"{form}: {before} killed before the new file was there, {remains} left a temporary file")
    assert 20 < before < 200
    assert remains > 20


@pytest.mark.parametrize("form", rq_writer.FORMS)
def test_files_that_may_not_grow(form, tmp_path):
    chance = random.Random(SEED)
    with writer(tmp_path) as process:
        assert process.write(form, 0) == 0
        old = contents(tmp_path)
        size = max(path.stat().st_size for path in tmp_path.iterdir())
        for largest in (1, 64, size - 1, *(chance.randrange(size) for _ in range(3))):
            assert process.write(form, 1, largest=largest) == errno.EFBIG
            assert contents(tmp_path) == old
            assert not left_behind(tmp_path)
        assert process.write(form, 1, largest=size + 4096) == 0
        assert contents(tmp_path) != old


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", rq_writer.FORMS)
def test_a_full_disk(form, small_disk):
    chance = random.Random(SEED)
    filler = small_disk / "filler"
    rq_writer.write_version(small_disk, form, 0)
    size = sum(path.stat().st_size for path in small_disk.iterdir())
    for room in (0, 4096, size - 4096, *(chance.randrange(size) for _ in range(20))):
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(free.f_bavail * free.f_bsize - room, 0)))
        old = contents(small_disk)
        with pytest.raises(OSError, match="No space left") as failure:
            rq_writer.write_version(small_disk, form, 1)
        assert failure.value.errno == errno.ENOSPC
        assert contents(small_disk) == old
        assert not left_behind(small_disk)
        filler.unlink()
    rq_writer.write_version(small_disk, form, 1)
