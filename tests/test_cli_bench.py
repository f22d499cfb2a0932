"""`bench` measures what it says, of the model that it was given."""

import json

import numpy as np
import pytest

from refquant.cli import main
from refquant.runtime import load_model
from refquant.runtime.held import Size, held
from refquant.runtime.measure import OPERATIONS, measure
from tests.roundings import assert_rounded
from tests.runtime_models import random_checkpoint


def printed(capsys, *arguments):
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


SHORT = ("--prompt-tokens", "4", "--tokens", "2", "--repeats", "1")


def test_json(capsys):
    status, out, _ = printed(capsys, "bench", "demo", *SHORT, "--json")
    facts = json.loads(out)
    assert status == 0
    for name in ("prompt_tokens_per_second", "tokens_per_second", "of_memory", "of_blas"):
        assert facts[name] > 0
    assert facts["prompt_tokens_per_second"] == 4 / facts["first_token_seconds"]
    # Each share is rounded once, and so is each of the sums that make 1 of them.
    shares = facts["operations"].values()
    assert_rounded(sum(shares), 1, 3 * len(shares))
    assert set(facts["operations"]) <= {*OPERATIONS.values(), "other"}
    assert facts["operations"]["matrices"] > facts["operations"]["norms"] > 0
    assert facts["weights"] == "auto"
    if facts["memory_bytes"] is not None:
        # Here tests ran before, and what they have freed may be given back meanwhile.
        assert facts["memory_of_weights"] < 5
        assert facts["memory_of_weights"] == facts["memory_bytes"] / facts["weight_bytes"]


def test_memory_of_workers_counts(capsys):
    found = [
        json.loads(printed(capsys, "bench", "demo", *SHORT, "--workers", count, "--json")[1])
        for count in ("1", "2")
    ]
    assert [one["workers"] for one in found] == [1, 2]
    if found[0]["memory_bytes"] is not None:
        assert found[1]["interpreter_bytes"] > 10e6


def test_text(capsys):
    status, out, _ = printed(capsys, "bench", "demo", *SHORT, "--weights", "packed")
    assert status == 0
    for words in ("held as packed", "tokens/s", "GFLOP/s", "of a token"):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--tokens", "0"), 2, "--tokens is 0"),
        (("--repeats", "1001"), 2, "--repeats is 1001, expected at most 1000"),
        (("--prompt-tokens", "5000"), 6, "context of 512"),
        (("--compute", "ggml_block"), 4, "quantized"),
    ],
)
def test_mistakes(arguments, status, words, capsys):
    code, _, err = printed(capsys, "bench", "demo", *arguments)
    assert code == status
    assert words in err


@pytest.mark.parametrize("mode", ["float32", "u8", "packed"])
def test_held_counts_every_matrix_once(mode):
    checkpoint = random_checkpoint("aeq/int8", width=32, head_width=8)
    found = held(load_model(checkpoint, mode))
    shapes = {name: one.shape for name, one in checkpoint.tensors.items()}
    # The embedding is the output matrix too, so it counts once.
    weights = sum(np.prod(shape) for shape in shapes.values() if len(shape) == 2)
    vectors = 4 * sum(shape[0] for shape in shapes.values() if len(shape) == 1)
    scales = 4 * sum(shape[0] for shape in shapes.values() if len(shape) == 2)
    assert found.weights == weights
    rotations = found.nbytes - vectors - (4 * weights if mode == "float32" else weights + scales)
    assert 0 <= rotations <= 64


def test_the_first_token_is_not_a_step():
    model = load_model(random_checkpoint())
    times = []
    found = measure(model, [1, 2], tokens=3, repeats=2, done=lambda: times.append(0))
    assert len(times) == 3
    assert (found.prompt_tokens, found.tokens) == (2, 3)
    assert found.decode_rate == 1 / found.decode_seconds
    assert Size(1, 2) + Size(3, 4) == Size(4, 6)
