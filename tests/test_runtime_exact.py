"""Arithmetic mode `exact`: the same bits, whatever is computed together, tiled, or by whom."""

import hashlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.runtime import load_model
from refquant.runtime.arithmetic_mode import arithmetic, primitives
from tests.runtime_models import random_checkpoint

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune"
DEMO_LOGITS = "d6130beef5d29d663937a686a6e8a638be6a5c1d90d0a49479039821ea9d1f4a"
"""SHA-256 of the logits f32[64, vocabulary] of the embedded model for ids 0, 7, 14, ... 441."""

PROGRAM = """
import hashlib, sys
from refquant.formats import open_checkpoint
from refquant.library import resolve
from refquant.runtime import load_model
model = load_model(open_checkpoint(resolve("demo")), arithmetic_mode="exact", precision=precision)
logits = model.forward(range(0, 7 * count, 7), model.new_cache(count))
print(hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest())
"""

WHOLE = "precision, count = None, 64" + PROGRAM


def digest_of(python=sys.executable, program=WHOLE, **environment):
    """What another process computes, with another number of threads or other kernels."""
    found = subprocess.run(
        [python, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


@pytest.fixture(scope="module")
def demo():
    return load_model(open_checkpoint(resolve("demo")), arithmetic_mode="exact")


def test_the_embedded_models_logits_are_these_bits(demo):
    logits = demo.forward(range(0, 448, 7), demo.new_cache(64))
    assert hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest() == DEMO_LOGITS


def test_tokens_one_by_one_are_tokens_together(demo):
    ids = list(range(0, 84, 7))
    together = demo.forward(ids, demo.new_cache(16))
    cache = demo.new_cache(16)
    apart = np.concatenate([demo.forward([one], cache) for one in ids])
    assert apart.tobytes() == together.tobytes()


def test_packed_weights_give_the_same_bits(demo):
    checkpoint = open_checkpoint(resolve("demo"))
    packed = load_model(checkpoint, "packed", "exact")
    ids = list(range(0, 84, 7))
    wanted = demo.forward(ids, demo.new_cache(16))
    assert packed.forward(ids, packed.new_cache(16)).tobytes() == wanted.tobytes()


def test_fast_is_near_and_not_the_same(demo):
    fast = load_model(open_checkpoint(resolve("demo")))
    ids = list(range(0, 448, 7))
    near, exact = fast.forward(ids, fast.new_cache(64)), demo.forward(ids, demo.new_cache(64))
    assert near.tobytes() != exact.tobytes()
    assert np.array_equal(near.argmax(axis=1), exact.argmax(axis=1))


def test_the_mode_ends_with_its_block():
    outside = primitives()
    with arithmetic("exact"):
        assert primitives() is not outside
    assert primitives() is outside
    with pytest.raises(UsageError, match="arithmetic can be fast or exact, not 'exakt'"):
        load_model(random_checkpoint(), arithmetic_mode="exakt")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["", "Haswell", "Sandybridge", "Nehalem", "Prescott"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_other_kernels_and_threads(kernel, threads):
    chosen = {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    assert digest_of(OPENBLAS_NUM_THREADS=threads, **chosen) == DEMO_LOGITS


@pytest.mark.slow
def test_numpy_without_wide_vectors():
    features = "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_ICL"
    assert digest_of(NPY_DISABLE_CPU_FEATURES=features, PYTHONWARNINGS="ignore") == DEMO_LOGITS


@pytest.mark.differential
def test_the_oldest_numpy(oracle):
    assert digest_of(oracle("numpy_2_1")) == DEMO_LOGITS


@pytest.mark.slow
def test_a_prompt_takes_at_most_six_times_as_long(demo):
    """Time of this process alone, both modes in turn, so that others on the machine matter less."""
    fast = load_model(open_checkpoint(resolve("demo")), "float32")
    ids, ratios = list(range(0, 896, 7)), []
    for _ in range(9):
        times = []
        for model in (fast, demo):
            began = time.process_time()
            model.next_logits(ids, model.new_cache(128))
            times.append(time.process_time() - began)
        ratios.append(times[1] / times[0])
    print(f"exact takes {statistics.median(ratios):.2f} times as long as fast")
    assert statistics.median(ratios[1:]) <= 6
