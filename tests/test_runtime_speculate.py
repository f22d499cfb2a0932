"""Guessing changes how long writing takes, and nothing that is written."""

import json

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.runtime import GenerateOptions, generate, load_model
from refquant.runtime.sampling import Sampler
from refquant.runtime.speculate import Guesses
from refquant.runtime.trace import Trace
from tests.architecture_models import GOLDEN, NAMES, golden
from tests.command_line import call
from tests.runtime_models import random_checkpoint

PROMPT = [5, 9, 2, 14, 5, 9, 2, 14, 5, 9]
WRITERS = [name for name in NAMES if golden(name)[0].architecture.family != "bert"]


def larger():
    """A model so large that several rows together have other last bits."""
    sizes = {"width": 128, "head_width": 32, "feedforward_width": 192, "vocabulary": 100}
    return random_checkpoint("ggml/q4_1", **sizes)


@pytest.fixture
def shown(monkeypatch):
    """The bits of all logits from which a token is chosen."""
    bits = []
    choose = Sampler.choose

    def watched(self, logits, seen=()):
        bits.append(logits.tobytes())
        return choose(self, logits, seen)

    monkeypatch.setattr(Sampler, "choose", watched)
    return bits


def written(model, shown, *, speculate):
    """Tokens, their probabilities and the logits, and how many guesses were right."""
    shown.clear()
    chosen = GenerateOptions(max_tokens=40, logprobs=True, speculate=speculate)
    generation = generate(model, PROMPT, chosen)
    steps = [(step.token, step.logprob) for step in generation]
    return (steps, tuple(shown)), generation.guesses


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("arith", ["fast", "exact"])
@pytest.mark.parametrize("weights", ["float32", "u8", "packed"])
def test_the_same_tokens_from_the_same_logits(weights, arith, workers, shown):
    model = load_model(larger(), weights, arith, workers=workers)
    plain, nothing = written(model, shown, speculate=False)
    found, (guessed, right) = written(model, shown, speculate=True)
    assert nothing is None
    assert found == plain
    assert guessed >= right > 10


def test_several_rows_together_have_other_bits():
    """Else the other tests here would show nothing."""
    model = load_model(larger(), "u8")
    found = [
        model.forward(PROMPT, model.new_cache(16), each_row_alone=alone) for alone in (False, True)
    ]
    assert not np.array_equal(*found)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7, "seed": 4},
        {"temperature": 1.5, "top_k": 4, "seed": 9},
        {"repetition_penalty": 1.3},
        {"logit_bias": ((3, 1.0),)},
    ],
)
def test_the_same_draws(options):
    model = load_model(random_checkpoint(vocabulary=8, seed=3), "u8")
    prompt = [one % 8 for one in PROMPT]
    found = []
    for speculate in (False, True):
        chosen = GenerateOptions(max_tokens=40, speculate=speculate, **options)
        generation = generate(model, prompt, chosen)
        found.append([step.token for step in generation])
    assert found[0] == found[1]
    assert generation.guesses[0] > 0


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_it_ends_where_it_should(most):
    model = load_model(random_checkpoint())
    for room in (None, model.new_cache(len(PROMPT) + most)):
        options = GenerateOptions(max_tokens=most, speculate=True)
        assert len(list(generate(model, PROMPT, options, cache=room))) == most


@pytest.mark.parametrize("name", WRITERS)
def test_rows_alone_in_every_family(name):
    checkpoint, states = golden(name)
    model = load_model(checkpoint, "auto")
    if model.fills_masks:
        return
    tokens = states.tokens[:6]
    one, many = model.new_cache(8), model.new_cache(8)
    expected = np.concatenate([model.forward([token], one) for token in tokens])
    model.forward(tokens[:1], many)
    found = model.forward(tokens[1:], many, each_row_alone=True)
    assert np.array_equal(found, expected[1:])


def test_guesses_are_what_stood_behind_the_last_tokens():
    guesses = Guesses([1, 2, 3, 4, 9, 2, 3])
    assert guesses.next(3) == [4, 9, 2]
    guesses.add(4)
    assert guesses.next(8) == [9, 2, 3, 4]
    guesses.add(7)
    assert guesses.next(8) == []


def test_what_goes_not_together(capsys):
    model = load_model(random_checkpoint())
    options = GenerateOptions(speculate=True, max_tokens=4)
    with pytest.raises(UsageError, match="a trace"):
        generate(model, PROMPT, options, watch=Trace().watch)
    assert call(capsys, "run", "demo", "--chat", "--speculate").status == 2


def test_command(capsys):
    arguments = ("run", "demo", "-p", "It is a truth, it is a truth, it is", "-n", 80, "--json")
    plain, guessed = (
        json.loads(call(capsys, *arguments, *more).out) for more in ((), ("--speculate",))
    )
    assert guessed["tokens"] == plain["tokens"]
    assert guessed["stats"]["guessed_tokens"] >= guessed["stats"]["right_guesses"] > 0


def test_golden_models_are_there():
    assert len(WRITERS) > 5
    assert GOLDEN.is_dir()
