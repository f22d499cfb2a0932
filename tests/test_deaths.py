"""Commands that are killed before each call that changes a file, and gone on with or done again.

Where chance kills, in `test_quantize_resume.py` and `test_rq_kills.py`, the moments between two
calls are missed for weeks: a journal that names a shard which has no name yet was one.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.command_line import small_model
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")

SEED = 20_261_121
FORMS = {
    "raw": ["--scheme", "q4_0"],
    "zstd": ["--scheme", "bf16", "--compression", "zstd"],
    "shards": ["--scheme", "q4_0", "--shard-size", "20kB"],
    "zstd shards": ["--scheme", "bf16", "--compression", "zstd", "--shard-size", "100kB"],
}
BEFORE = ["--scheme", "q8_0", "--shard-size", "30kB"]
"""What stands at the output when the work begins: a set of shards of its own."""


@contextmanager
def commands():
    """A function that has `dying_server.py` run a command line."""
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "dying_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
    )

    def run(*arguments, dies_before=None):
        request = {"arguments": [*map(str, arguments)], "dies_before": dies_before}
        process.stdin.write(f"{json.dumps(request)}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield run
    finally:
        process.stdin.close()
        assert process.wait() == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq", layers=1)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


class Work:
    """One command that writes in a folder, over what another one wrote there before."""

    def __init__(self, run, folder, arguments, before=None):
        self.run, self.folder, self.arguments = run, folder, arguments
        if before is not None:
            assert run(*before)[0] == 0
        self.before = contents(folder)
        status, self.calls = self.do()
        assert status == 0
        self.after = contents(folder)
        assert self.after != self.before

    def do(self, *options, **death):
        return self.run(*self.arguments, *options, **death)

    def die(self, number, *options):
        assert self.do(*options, dies_before=number) == [-signal.SIGKILL, []]
        # What stood there, or what replaces it, is there and whole.
        found = contents(self.folder)
        assert any(whole.items() <= found.items() for whole in (self.before, self.after))

    def end(self, *options):
        """Do it undisturbed, and see that nothing tells what came before."""
        status, calls = self.do(*options)
        assert status == 0
        assert contents(self.folder) == self.after
        return calls

    def restore(self):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name, data in self.before.items():
            (self.folder / name).write_bytes(data)


def quantizing(run, model, folder, form):
    """A quantized model that replaces a set of shards."""
    arguments = ["quantize", model, "-o", folder / "out.rq", "--jobs", "1", "--quiet"]
    work = Work(run, folder, [*arguments, *FORMS[form]], [*arguments, *BEFORE])
    assert len(work.before) > 2
    assert not work.after.keys() & work.before.keys() - {"out.rq"}
    return work


NAMES = {"open", "mkdir", "replace", "rename", "unlink", "truncate", "fsync"}


def boundaries(calls):
    """The numbers of the calls that are not of a file's content alone."""
    return [number for number, name in enumerate(calls) if name in NAMES]


def test_work_that_died_at_each_boundary_is_gone_on_with(tmp_path, model):
    with commands() as run:
        work = quantizing(run, model, tmp_path, "shards")
        moments = boundaries(work.calls)
        assert {"replace", "unlink", "fsync"} <= {work.calls[number] for number in moments}
        for number in moments:
            work.restore()
            work.die(number)
            work.end("--resume")


CONVERSIONS = {
    "shards": ["out.rq", "--shard-size", "100kB"],
    "GGUF": ["out.gguf"],
    "NNEF": ["out", "--to", "nnef"],
    "safetensors": ["out", "--to", "safetensors"],
}


@pytest.mark.parametrize("form", CONVERSIONS)
def test_a_conversion_that_died_at_each_boundary_leaves_nothing(tmp_path, model, form):
    name, *options = CONVERSIONS[form]
    folder = tmp_path / "made"
    folder.mkdir()
    with commands() as run:
        work = Work(run, folder, ["convert", model, folder / name, "--quiet", *options])
        for number in boundaries(work.calls):
            work.restore()
            work.die(number)
            if (folder / name).is_dir():
                # What is there already is not replaced, and this one is complete.
                assert contents(folder) == work.after
            else:
                work.end()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_death_before_each_call(tmp_path, model, form):
    """Gone on with, and begun anew."""
    with commands() as run:
        work = quantizing(run, model, tmp_path, form)
        for number in range(len(work.calls)):
            for options in (["--resume"], []):
                work.restore()
                work.die(number)
                work.end(*options)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_second_death_after_one_at_each_boundary(tmp_path, model, form):
    """Some moments of a run that goes on with what the first death left at each."""
    chance = random.Random(SEED)
    with commands() as run:
        work = quantizing(run, model, tmp_path, form)
        for number in boundaries(work.calls):
            work.restore()
            work.die(number)
            moments = boundaries(work.end("--resume"))
            for again in chance.sample(moments, min(3, len(moments))):
                work.restore()
                work.die(number)
                work.die(again, "--resume")
                work.end("--resume")
