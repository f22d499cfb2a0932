"""Quantizing by an executor: the bytes are those of one process, whatever happens to workers."""

import os
import signal
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from refquant.errors import LimitError, SchemeError, UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import write_checkpoint
from refquant.quantization import Hands, quantize_checkpoint, write_quantized
from refquant.quantization.crews import local_crew
from refquant.quantization.executors import Crew
from refquant.quantization.work import Source, answered
from refquant.recipe import Recipe, assign, uniform_recipe
from refquant.tensor import quantize
from tests.command_line import call, small_model

FORMS = {
    "raw": {},
    "zstd": {"compression": "zstd"},
    "shards": {"shard_size": 60_000},
    "zstd shards": {"shard_size": 60_000, "compression": "zstd"},
}
RECIPE = uniform_recipe("q4_0")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("models") / "small.rq", layers=3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, model, form):
    found = []
    for workers in (0, 1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        if workers:
            with ThreadPoolExecutor(workers) as executor:
                quantize_checkpoint(
                    model, folder / "out.rq", RECIPE, executor=executor, **FORMS[form]
                )
        else:
            quantize_checkpoint(model, folder / "out.rq", RECIPE, **FORMS[form])
        found.append(contents(folder))
    assert found[0] == found[1] == found[2]
    assert (len(found[0]) > 1) == ("shards" in form)


class Counting(Executor):
    """Does the work at once, and remembers how much was asked for and not yet taken."""

    def __init__(self):
        self.taken, self.most, self.done = set(), 0, 0

    def submit(self, function, /, *arguments, **options):
        future = Future()
        future.set_result(function(*arguments, **options))
        original = future.result

        def result(timeout=None):
            self.taken.add(id(future))
            return original(timeout)

        future.result = result
        self.done += 1
        self.most = max(self.most, self.done - len(self.taken))
        self.kept = [*getattr(self, "kept", []), future]
        return future


def test_no_more_is_made_ahead_than_there_are_workers(tmp_path, model):
    executor = Counting()
    quantize_checkpoint(model, tmp_path / "out.rq", RECIPE, executor=executor, workers=2)
    assert executor.done == 22
    assert executor.most <= 3


def test_workers_turn_the_layers_too(tmp_path):
    sizes = {"width": 64, "head_width": 16, "feedforward_width": 96}
    model = small_model(tmp_path / "model.rq", **sizes)
    recipe = Recipe(rules=RECIPE.rules, rotation="hadamard")
    quantize_checkpoint(model, tmp_path / "alone.rq", recipe)
    with ThreadPoolExecutor(2) as executor:
        quantize_checkpoint(model, tmp_path / "shared.rq", recipe, executor=executor)
    assert (tmp_path / "alone.rq").read_bytes() == (tmp_path / "shared.rq").read_bytes()


def processes(crew):
    return list(crew.executor._processes)


@pytest.mark.parametrize("form", [pytest.param("raw", marks=pytest.mark.slow), "shards"])
def test_a_killed_process_is_replaced(tmp_path, model, form):
    for name in ("alone", "shared"):
        (tmp_path / name).mkdir()
    quantize_checkpoint(model, tmp_path / "alone" / "out.rq", RECIPE, **FORMS[form])
    checkpoint = open_checkpoint(model)
    info = open_checkpoint(tmp_path / "alone" / "out.rq").info
    killed = []

    class Killing:
        """A meter that kills a worker at the fifth tensor."""

        count = 0

        def start(self, _name):
            self.hit()

        def advance(self, _count):
            self.hit()

        def hit(self):
            self.count += 1
            if self.count == 5:
                killed.extend(processes(crew)[:1])
                os.kill(killed[0], signal.SIGKILL)

    with local_crew(2) as crew:
        write_quantized(
            tmp_path / "shared" / "out.rq",
            checkpoint,
            assign(checkpoint, RECIPE),
            info={key: value for key, value in info.items() if key == "provenance"},
            hands=Hands(None, crew, Source.at(model)),
            meter=Killing(),
            form=FORMS[form],
        )
    assert killed
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


def test_work_that_kills_its_workers_ends():
    renewed = []
    crew = Crew(Counting(), 1, lambda: renewed.append(1))
    for _ in range(2):
        crew.died("w", RuntimeError("gone"))
    with pytest.raises(LimitError, match="workers died while w was quantized"):
        crew.died("w", RuntimeError("gone"))


def test_an_executor_of_somebody_else_is_not_renewed():
    with pytest.raises(LimitError, match="workers died while w was quantized"):
        Crew(Counting(), 1).died("w", RuntimeError("gone"))


def test_a_refusal_comes_back_as_it_was(tmp_path):
    bad = quantize(np.full((4, 32), np.nan, np.float32), "float/f32")
    write_checkpoint(tmp_path / "bad.rq", Checkpoint(None, {"w": bad}, {}, None, {}, {}))
    recipe = uniform_recipe("int8")
    with ThreadPoolExecutor(1) as one, pytest.raises(SchemeError, match="no rule for it") as caught:
        quantize_checkpoint(tmp_path / "bad.rq", tmp_path / "out.rq", recipe, executor=one)
    assert caught.value.scheme == "int/affine[bits=8,sym,channel]"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.rq"]


def test_a_worker_refuses_another_file_or_version(tmp_path, model):
    copy = tmp_path / "model.rq"
    copy.write_bytes(model.read_bytes())
    source = Source.at(copy)
    copy.write_bytes(model.read_bytes()[:-1] + b"?")
    with pytest.raises(UsageError, match="finds another file at"):
        answered(source.checkpoint).value()
    other = Source(source.path, source.mark, version="0.0.1")
    with pytest.raises(UsageError, match=r"and 0\.0\.1 is asked for"):
        answered(other.checkpoint).value()
    copy.unlink()
    with pytest.raises(UsageError, match="does not find the source"):
        answered(source.checkpoint).value()


def test_the_command_line_shares_work_among_processes(capsys, tmp_path, model):
    command = ("quantize", model, "--scheme", "q5_k", "--embedding-scheme", "f16", "--quiet")
    assert call(capsys, *command, "-o", tmp_path / "alone.rq").status == 0
    assert call(capsys, *command, "-o", tmp_path / "shared.rq", "--workers", 2).status == 0
    assert (tmp_path / "alone.rq").read_bytes() == (tmp_path / "shared.rq").read_bytes()
    found = call(capsys, *command, "-o", tmp_path / "x.rq", "--workers", 2, "--dask", "tcp://x")
    assert found.status == 2
    assert "--workers are of this machine and --dask has its own: give one" in found.err
    assert call(capsys, *command, "-o", tmp_path / "x.rq", "--workers", 0).status == 2
