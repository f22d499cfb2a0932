"""However many processes compute, the bits are the same; and none of them outlives its use."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.runtime import blocks, dense, grouped, load_model, packed, team, team_worker
from refquant.runtime.arithmetic_mode import arithmetic, arithmetic_of, using
from refquant.runtime.blas import blas_threads, limit_blas_threads
from refquant.runtime.gated import gated_tiles
from refquant.runtime.workers import why_alone
from tests.runtime_models import random_checkpoint

pytestmark = pytest.mark.skipif(bool(why_alone()), reason=why_alone())

SCHEMES = ("float/bf16", "ggml/q4_1", "ggml/q8_0", "ggml/mxfp4")
MODES = ("float32", "u8", "packed", "auto")
IDS = (3, 9, 27, 81, 11, 33, 99, 65, 7, 21)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that small matrices, too, have more tiles than processes."""
    monkeypatch.setattr(dense, "DENSE_TILE", 1 << 10)
    monkeypatch.setattr(packed, "TILE_ELEMENTS", 1 << 10)
    monkeypatch.setattr(grouped, "TILE_WEIGHTS", 1 << 10)


def checkpoint(scheme="ggml/q4_1"):
    sizes = {"width": 64, "head_width": 16, "feedforward_width": 96, "vocabulary": 300}
    return random_checkpoint(scheme, **sizes)


def logits(model):
    """Of a prompt that is short, of one that is long, and of single tokens."""
    cache = model.new_cache(64)
    found = [model.forward(IDS[:3], cache), model.forward(IDS, cache)]
    return np.concatenate([*found, *(model.forward([one], cache) for one in IDS[:3])])


def workers_of(model):
    return list(model.crew.pids)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("scheme", "arith"), [*((scheme, "fast") for scheme in SCHEMES), ("ggml/q4_1", "exact")]
)
def test_any_number_gives_the_same_bits(scheme, mode, arith):
    stored = checkpoint(scheme)
    found = [logits(load_model(stored, mode, arith, workers=count)) for count in (1, 2, 3)]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    plain = logits(load_model(stored, mode, arith))
    # A process alone sums in another order, which exact arithmetic does not show.
    assert np.array_equal(found[0], plain) or arith == "fast"
    assert np.array_equal(found[0].argsort(axis=1), plain.argsort(axis=1))


@pytest.mark.parametrize("arith", ["fast", "exact"])
@pytest.mark.parametrize("tokens", [1, 10])
def test_what_workers_bend_is_what_one_bends_afterwards(tokens, arith, monkeypatch):
    monkeypatch.setattr(blocks, "FEW_ROWS", 0)
    model = load_model(checkpoint(), "u8", arith, workers=2)
    network = model.network.blocks[0].feed_forward
    x = np.random.default_rng(4).standard_normal((tokens, 64)).astype(np.float32)
    matrix = network.gate_up.matrix
    assert matrix.gated.shape == (96, 64)
    assert len(matrix.gated.matrix.bounds) > 3
    apart = replace(network, gate_up=blocks.Affine(replace(matrix, gated=None)))
    with arithmetic(arith):
        assert np.array_equal(blocks.feed_forward(x, network), blocks.feed_forward(x, apart))
        biased = replace(network, gate_up=blocks.Affine(matrix, np.ones(192, np.float32)))
        assert not np.array_equal(blocks.feed_forward(x, biased), blocks.feed_forward(x, apart))


def test_gate_and_up_that_are_cut_in_other_columns_stay_apart():
    columns = [np.ones((rows, 64), np.float32) for rows in (192, 2 * 40)]
    assert gated_tiles(dense.dense(columns[0]), "silu").bounds[-1] == 96
    assert gated_tiles(dense.dense(columns[1]), "silu") is None


def test_results_that_somebody_holds_stay_as_they_are():
    model = load_model(checkpoint(), "u8", workers=2)
    matrix = model.network.blocks[0].attention.output.matrix
    x = np.random.default_rng(5).standard_normal((12, 10, 64)).astype(np.float32)
    expected = [matrix.product(one, None).copy() for one in x]
    assert np.array_equal([matrix.product(one, None) for one in x], expected)


def test_a_part_of_a_result_goes_into_a_product():
    model = load_model(checkpoint(), "u8", workers=2)
    matrix = model.network.blocks[0].attention.output.matrix
    first = matrix.product(np.outer(np.arange(1, 11), np.ones(64)).astype(np.float32), None)
    for part in (slice(0, 10), slice(0, 4), slice(3, 7), slice(0, 10, 3)):
        expected = matrix.product(first[part].copy(), None).copy()
        assert np.array_equal(matrix.product(first[part], None), expected)


def test_contracts_too():
    stored = checkpoint("ggml/q8_0")
    found = [
        logits(load_model(stored, "u8", compute="ggml_block", workers=count)) for count in (1, 2)
    ]
    assert np.array_equal(*found)
    assert np.array_equal(found[0], logits(load_model(stored, compute="ggml_block")))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_alone_are_what_single_tokens_are(scheme, mode):
    model = load_model(checkpoint(scheme), mode, workers=2)
    one, many = model.new_cache(32), model.new_cache(32)
    expected = [model.forward([token], one)[0] for token in IDS]
    model.forward(IDS[:1], many)
    with using(arithmetic_of(exact=False, alone=True)):
        found = model.network.forward(np.array(IDS[1:]), many)
    assert np.array_equal(found, expected[1:])


def test_a_worker_that_does_not_come_to_it():
    stored = checkpoint()
    expected = logits(load_model(stored, "u8", workers=1))
    model = load_model(stored, "u8", workers=3)
    stopped = workers_of(model)[0]
    for _ in range(3):
        os.kill(stopped, signal.SIGSTOP)
        assert np.array_equal(logits(model), expected)
        os.kill(stopped, signal.SIGCONT)
        assert np.array_equal(logits(model), expected)


def test_a_worker_that_dies(monkeypatch):
    monkeypatch.setattr(team, "ROLL_CALL_SECONDS", 0.0)
    stored = checkpoint()
    expected = logits(load_model(stored, "u8", workers=1))
    model = load_model(stored, "u8", workers=2)
    os.kill(workers_of(model)[0], signal.SIGKILL)
    time.sleep(0.05)
    with pytest.warns(RuntimeWarning, match="worker process 2 of 2 was ended by signal SIGKILL"):
        assert np.array_equal(logits(model), expected)
    assert np.array_equal(logits(model), expected)


def test_an_interrupt_in_the_middle(monkeypatch):
    model = load_model(checkpoint(), "u8", workers=2)
    expected = logits(model)
    fill = grouped.GroupedMatrix.fill

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(grouped.GroupedMatrix, "fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        logits(model)
    monkeypatch.setattr(grouped.GroupedMatrix, "fill", fill)
    assert np.array_equal(logits(model), expected)


def test_workers_sleep_and_wake(monkeypatch):
    monkeypatch.setattr(team_worker, "IDLE_SECONDS", 0.0)
    model = load_model(checkpoint(), "u8", workers=2)
    expected = logits(model)
    assert np.array_equal(logits(asleep(model)), expected)


def asleep(model):
    """A model whose one worker sleeps."""
    words = model.crew._team.control
    until = time.monotonic() + 10
    while not words[team.WORDS + team.ASLEEP] and time.monotonic() < until:
        time.sleep(0.01)
    assert words[team.WORDS + team.ASLEEP]
    return model


def test_a_worker_that_dies_in_its_sleep(monkeypatch):
    monkeypatch.setattr(team_worker, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(team, "ROLL_CALL_SECONDS", 0.0)
    model = load_model(checkpoint(), "u8", workers=2)
    expected = logits(model)
    # Signal 40 has no name in Python.
    os.kill(workers_of(asleep(model))[0], 40)
    time.sleep(0.05)
    with pytest.warns(RuntimeWarning, match="worker process 2 of 2 was ended by signal 40"):
        assert np.array_equal(logits(model), expected)
    assert workers_of(model) == []
    assert np.array_equal(logits(model), expected)


def test_a_worker_that_is_stopped_in_its_sleep(monkeypatch):
    monkeypatch.setattr(team_worker, "IDLE_SECONDS", 0.0)
    model = load_model(checkpoint(), "u8", workers=2)
    expected = logits(model)
    (pid,) = workers_of(asleep(model))
    os.kill(pid, signal.SIGSTOP)
    try:
        fill_up(model.crew._team._bells[1])
        assert np.array_equal(soon(model), expected)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert np.array_equal(logits(model), expected)


def fill_up(pipe):
    """Write what fits, as a thousand products would, each a byte."""
    waits = os.get_blocking(pipe)
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while os.write(pipe, bytes(4096)):
            pass
    os.set_blocking(pipe, waits)


def soon(model):
    """What the model computes, if it does not wait for ever."""
    found = []
    thread = threading.Thread(target=lambda: found.append(logits(model)), daemon=True)
    thread.start()
    thread.join(20)
    assert found, "still waiting"
    return found[0]


@pytest.mark.parametrize("line", range(3))
def test_an_interrupt_leaves_no_lock_behind(line):
    """As Python delivers signals: between two calls."""
    model = load_model(checkpoint(), "u8", workers=2)
    expected = logits(model)
    events = iter(range(100))

    def interrupting(frame, event, _argument):
        if frame.f_code.co_name == "fence" and event != "call" and next(events) == line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return interrupting

    former = sys.gettrace()
    sys.settrace(interrupting)
    try:
        with suppress(KeyboardInterrupt):
            logits(model)
    finally:
        sys.settrace(former)
    assert np.array_equal(soon(model), expected)


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("mode", MODES)
def test_threads_take_turns(mode, workers):
    model = load_model(checkpoint(), mode, workers=workers)
    texts = [list(IDS), [one + 100 for one in IDS]]
    expected = [model.forward(ids, model.new_cache(16)) for ids in texts]
    found = [[], []]

    def compute(number):
        for _ in range(40):
            found[number].append(model.forward(texts[number], model.new_cache(16)))

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(2)]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
    for own, those in zip(expected, found, strict=True):
        assert all(np.array_equal(one, own) for one in those)


def test_logits_are_the_callers_own():
    lent = np.ones((4, 300), np.float32)
    model = load_model(checkpoint(), "u8", workers=2)
    network = SimpleNamespace(forward=lambda tokens, _cache, **_options: lent[: len(tokens)])
    lending = replace(model, network=network)
    assert not np.shares_memory(lending.forward(IDS[:3], model.new_cache(4)), lent)
    assert not np.shares_memory(lending.next_logits(IDS[:3], model.new_cache(4)), lent)


def test_threads_of_blas_come_back():
    before = blas_threads()
    if before is None:
        pytest.skip("another BLAS")
    limit_blas_threads(2)
    try:
        first, second = (load_model(checkpoint(), "u8", workers=count) for count in (1, 2))
        assert blas_threads() == 1
        first.crew.close()
        first.crew.close()
        assert blas_threads() == 1
        del second
        gc.collect()
        assert blas_threads() == 2
    finally:
        limit_blas_threads(before)


def test_workers_end_with_the_model():
    model = load_model(checkpoint(), "u8", workers=3)
    pids = workers_of(model)
    expected = logits(model)
    assert len(pids) == 2
    assert all(lives(pid) for pid in pids)
    model.crew.close()
    assert not any(lives(pid) for pid in pids)
    assert np.array_equal(logits(model), expected)
    again = load_model(checkpoint(), "u8", workers=2)
    (pid,) = workers_of(again)
    del again
    gc.collect()
    assert not lives(pid)


PARENT = """
import os, signal, sys
fork = os.fork
def interrupted():
    child = fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return child
if sys.argv[1] == "interrupted":
    os.fork = interrupted
from refquant.runtime import load_model
from tests.runtime_models import random_checkpoint
stored = random_checkpoint("ggml/q8_0", width=32, head_width=8, feedforward_width=32)
model = load_model(stored, "u8", workers=2)
model.forward([1, 2], model.new_cache(4))
print(*model.crew.pids, flush=True)
if sys.argv[1] == "interrupted":
    model.crew.close()
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "failed":
    raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("how", "status"), [("ended", 0), ("interrupted", 0), ("failed", 3), ("killed", -9)]
)
def test_workers_end_with_the_process(how, status):
    done = subprocess.run(
        [sys.executable, "-c", PARENT, how], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, "")
    until = time.monotonic() + 10
    while lives(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives(int(done.stdout))


def test_where_there_can_be_none(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="this is darwin"):
        load_model(checkpoint(), workers=2)
    with pytest.raises(UsageError, match="workers is 0"):
        load_model(checkpoint(), workers=0)
    assert load_model(checkpoint(), workers=1).crew.size == 1
