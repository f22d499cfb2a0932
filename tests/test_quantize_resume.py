"""`refquant quantize` that is killed and gone on with: the same bytes, and nothing twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.command_line import call, small_model
from tests.conftest import REPOSITORY

SEED = 20_261_121

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")

FORMS = {
    "raw": [],
    "zstd": ["--compression", "zstd"],
    "shards": ["--shard-size", "300kB"],
    "zstd shards": ["--shard-size", "300kB", "--compression", "zstd"],
}


class Server:
    """`quantize_server.py`, whose children may be killed."""

    def __init__(self, log):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests" / "quantize_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=REPOSITORY,
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "ENCODED": str(log),
                "OPENBLAS_NUM_THREADS": "1",
            },
        )

    def run(self, arguments, kill_after=None):
        """The exit status of a command, which is killed after some seconds."""
        child = self.ask(json.dumps([*map(str, arguments)]))
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        return self.ask("how did it end?")

    def ask(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def encoded(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@contextmanager
def server(folder):
    found = Server(folder / "encoded.txt")
    try:
        yield found
    finally:
        found.process.stdin.close()
        assert found.process.wait() == 0
        found.process.stdout.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Large enough that its 7 matrices in each of 3 layers take a while."""
    folder = tmp_path_factory.mktemp("models")
    sizes = {"layers": 3, "width": 256, "head_width": 64, "feedforward_width": 512}
    return small_model(folder / "wide.rq", **sizes)


def command(model, folder, form):
    options = ["--scheme", "q4_k", "--jobs", "1", "--quiet", *FORMS[form]]
    return ["quantize", model, "-o", folder / "out.rq", *options]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_and_resumed(model, folder, form, kills, seed):
    """How many kills left work to go on with; each costs at most the tensor it came in."""
    whole, broken = folder / "whole", folder / "broken"
    whole.mkdir()
    broken.mkdir()
    chance, lost = random.Random(seed), 0
    with server(folder) as process:
        assert process.run(command(model, whole, form)) == 0
        names = process.encoded()
        assert len(names) == len(set(names)) == 22
        process.log.unlink()
        began = time.monotonic()
        assert process.run(command(model, broken, form)) == 0
        took = time.monotonic() - began
        assert contents(broken) == contents(whole)
        done = 0
        while done < kills:
            for path in broken.iterdir():
                path.unlink()
            process.log.unlink()
            process.log.touch()
            arguments, deaths = command(model, broken, form), 0
            # Every death gives the next run more time: what a resumed run does before it goes on
            # may take longer than all of the run that was measured, and then none would end.
            while status := process.run(arguments, chance.uniform(0.02, 1.1) * took * 1.2**deaths):
                assert status == -signal.SIGKILL
                lost += any(path.suffix == ".unfinished" for path in broken.iterdir())
                deaths += 1
                arguments = [*command(model, broken, form), "--resume"]
            done += max(deaths, 1)
            assert contents(broken) == contents(whole)
            assert set(process.encoded()) == set(names)
            assert len(process.encoded()) <= len(names) + deaths
    return lost


@pytest.mark.parametrize("form", ["raw", "zstd shards"])
def test_killed_runs_that_are_gone_on_with(tmp_path, model, form):
    killed_and_resumed(model, tmp_path, form, 3, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_forty_killed_runs(tmp_path, model, form):
    lost = killed_and_resumed(model, tmp_path, form, 40, SEED)
    print(f"{form}: {lost} kills left work to go on with")
    assert lost >= 15


INTERRUPTED = """
import os, sys
from refquant.cli import main
from refquant.quantization import plan
original, calls = plan.Knowledge.encoded, []
def encoded(*arguments):
    calls.append(1)
    if len(calls) == 12:
        os.kill(os.getpid(), {number})
    return original(*arguments)
plan.Knowledge.encoded = encoded
sys.exit(main(sys.argv[1:]))
"""


def interrupted(number, arguments):
    program = [sys.executable, "-c", INTERRUPTED.format(number=int(number))]
    tokens = [*map(str, arguments)]
    return subprocess.run([*program, *tokens], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["raw", "shards"])
def test_an_interrupt_keeps_the_work_only_where_it_is_asked_to(capsys, tmp_path, model, form):
    assert interrupted(signal.SIGINT, command(model, tmp_path, form)).returncode == 130
    assert not contents(tmp_path)
    done = interrupted(signal.SIGTERM, [*command(model, tmp_path, form), "--resume"])
    assert done.returncode == 143
    assert "is kept; the same command goes on with it" in done.stderr
    assert contents(tmp_path)
    assert call(capsys, *command(model, tmp_path, form), "--resume").status == 0
    once = contents(tmp_path)
    assert not [name for name in once if name.endswith(".unfinished")]
    again = call(capsys, *command(model, tmp_path, form))
    assert (again.status, contents(tmp_path)) == (0, once)


OTHERS = {
    "scheme": (["q5_k"], "recipe $.rules[2].scheme was 'ggml/q4_k', now it is 'ggml/q5_k'"),
    "version": ([], "version $.refquant was '0.0.1', now it is"),
    "source": ([], "source wide.rq had SHA-256"),
    "form": (["--compression", "zstd"], "its form is another"),
}


@pytest.mark.parametrize("form", ["raw", "shards"])
@pytest.mark.parametrize("other", OTHERS)
def test_the_work_of_another_run_is_refused(capsys, monkeypatch, tmp_path, model, form, other):
    options, message = OTHERS[other]
    copy = tmp_path / "wide.rq"
    copy.write_bytes(model.read_bytes())
    assert interrupted(9, command(copy, tmp_path, form)).returncode == -9
    left = contents(tmp_path)
    if other == "source":
        small_model(copy, layers=3, width=256, head_width=64, feedforward_width=512, seed=1)
        left["wide.rq"] = copy.read_bytes()
    if other == "version":
        monkeypatch.setattr("refquant.quantization.provenance.tool_version", lambda: "0.0.1")
        message = "now it is '0.0.1'"
    now = command(copy, tmp_path, form)
    if other == "scheme":
        now[now.index("q4_k")], options = options[0], []
    found = call(capsys, *now, "--resume", *options)
    assert (found.status, found.out) == (2, "")
    assert "the unfinished work is of another run" in found.err
    assert message in found.err
    assert "leave --resume out to begin anew" in found.err
    assert contents(tmp_path) == left
    assert call(capsys, *now, *options).status == 0
    assert not [name for name in contents(tmp_path) if name.endswith(".unfinished")]


def test_a_file_that_is_complete_is_not_made_again(capsys, monkeypatch, tmp_path, model):
    for form in FORMS:
        folder = tmp_path / form
        folder.mkdir()
        assert call(capsys, *command(model, folder, form)).status == 0
        before = contents(folder)
        with monkeypatch.context() as patched:
            patched.setattr("refquant.quantization.plan.Knowledge.encoded", None)
            assert call(capsys, *command(model, folder, form), "--resume").status == 0
        assert contents(folder) == before


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_damaged_work_is_done_again(capsys, tmp_path, model, at):
    """Digests are of the bytes that are read again, so a torn write costs tensors and no error."""
    whole = tmp_path / "whole"
    whole.mkdir()
    call(capsys, *command(model, whole, "raw"))
    assert interrupted(9, command(model, tmp_path, "raw")).returncode == -9
    (work,) = tmp_path.glob(".refquant-*.unfinished")
    data = bytearray(work.read_bytes())
    data[int(at * len(data))] ^= 1
    work.write_bytes(data)
    assert call(capsys, *command(model, tmp_path, "raw"), "--resume").status == 0
    assert (tmp_path / "out.rq").read_bytes() == (whole / "out.rq").read_bytes()


def test_two_processes_do_not_write_the_same_output(capsys, tmp_path, model):
    from refquant.formats.rq.unfinished import unfinished_file, unfinished_path

    with unfinished_file(unfinished_path(tmp_path / "out.rq"), keeps=bool):
        found = call(capsys, *command(model, tmp_path, "raw"))
    assert found.status == 2
    assert "another process is at work on this output" in found.err
