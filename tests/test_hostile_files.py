"""Damaged files of others' formats end in an error of ours: no crash, no hang, little memory."""

import os
import random
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from conformance.container.peers import CEILING, limit_memory
from refquant.errors import RefquantError
from tests import hostile_files
from tests.conftest import REPOSITORY


@pytest.fixture
def ceiling():
    """What this process holds already, and 256 MiB for one file."""
    if not Path("/proc/self/status").exists():
        yield
        return
    status = Path("/proc/self/status").read_text("ascii").splitlines()
    held = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData:"))
    former = limit_memory(held + CEILING)
    yield
    limit_memory(former)


def look_at_many(name, count, seed, folder):
    chance = random.Random(seed)
    answers = Counter()
    for _ in range(count):
        data = hostile_files.mutant(name, chance)
        answers[hostile_files.answer(name, data, folder)] += 1
    return answers


@pytest.mark.parametrize("name", ["gguf", "hugging_face"])
def test_a_file_without_damage_writes_its_text(name, tmp_path):
    """Otherwise damage to a tokenizer would meet nobody who uses one."""
    seed, _ = hostile_files.FORMATS[name]
    written = []
    for number in range(20):
        with suppress(RefquantError):
            written.append(hostile_files.look_at(name, seed(random.Random(number)), tmp_path))
    assert len([text for text in written if text and text.startswith("a" * 40 + "b")]) > 5


@pytest.mark.parametrize("name", hostile_files.FORMATS)
def test_damage_is_an_error_of_ours(name, ceiling, tmp_path):
    answers = look_at_many(name, 500, 20_261_121, tmp_path)
    assert not [said for said in answers if said.startswith(("crash", "hang"))]
    assert len(answers) > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile_files.FORMATS)
def test_much_damage_is_an_error_of_ours(name, ceiling, tmp_path):
    seed = random.SystemRandom().getrandbits(64)
    answers = look_at_many(name, 10_000, seed, tmp_path)
    assert not [said for said in answers if said.startswith(("crash", "hang"))], seed


@pytest.mark.differential
@pytest.mark.parametrize("name", hostile_files.FORMATS)
def test_damage_led_by_coverage(name, oracle, tmp_path):
    command = [oracle("atheris"), "-m", "tests.hostile_guided", "--format", name]
    # Linux hands a process's peak of memory on to the program it starts; a shell between the two
    # forks once more, and the fuzzer is judged by its own peak instead of by that of the tests.
    fresh = ["sh", "-c", '"$@"; exit $?', "sh"]
    done = subprocess.run(
        [*fresh, *command, "--seconds", "30", "--corpus", tmp_path / "grown"],
        cwd=REPOSITORY,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
