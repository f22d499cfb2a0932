"""The loop: steps, ends, limits, and that batches and clocks are what they say."""

import numpy as np
import pytest

from refquant.errors import LimitError, UsageError
from refquant.runtime import GenerateOptions, Tokenizer, generate, load_model
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level


@pytest.fixture(scope="module")
def model():
    return load_model(random_checkpoint(vocabulary=258, context=32))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(byte_level())


class Scripted:
    """A model that says what it is told to, whatever it hears."""

    context = 64
    vocabulary = 258
    fills_masks = False

    def __init__(self, ids):
        self.ids = list(ids)
        self.heard = []

    def new_cache(self, capacity):
        return capacity

    def next_logits(self, ids, _cache, *, watch):
        watch("heard", np.float32(ids))
        self.heard.append(list(ids))
        logits = np.zeros(self.vocabulary, np.float32)
        logits[self.ids[len(self.heard) - 1]] = 1
        return logits


def written(tokenizer, text, **options):
    script = Scripted([*tokenizer.encode(text), 257])
    steps = list(generate(script, [1, 2], GenerateOptions(**options), tokenizer=tokenizer))
    return steps, script


def test_greedy_steps_are_what_a_hand_written_loop_finds(model):
    expected, ids = [], [5, 6, 7]
    for _ in range(6):
        logits = model.next_logits(ids, model.new_cache(len(ids)))
        expected.append(int(np.argmax(logits)))
        ids = [*ids, expected[-1]]
    steps = list(generate(model, [5, 6, 7], GenerateOptions(max_tokens=6)))
    assert [step.token for step in steps] == expected
    assert [step.finish for step in steps] == ["", "", "", "", "", "length"]
    assert {step.text for step in steps} == {""}


def test_the_prompt_goes_in_whole_and_then_one_token_at_a_time(tokenizer):
    _, script = written(tokenizer, "ab", max_tokens=9)
    assert script.heard == [[1, 2], tokenizer.encode("a"), tokenizer.encode("b")]


def test_text_streams_and_ends_with_eos(tokenizer):
    steps, _ = written(tokenizer, "a €", max_tokens=9)
    assert [step.text for step in steps] == ["a", " ", "", "", "€", ""]
    assert steps[-1].finish == "eos"
    assert steps[-1].token == 257


def test_eos_can_be_ignored(tokenizer):
    script = Scripted([257, *tokenizer.encode("ab")])
    options = GenerateOptions(max_tokens=3, ignore_eos=True)
    steps = list(generate(script, [1], options, tokenizer=tokenizer))
    assert "".join(step.text for step in steps) == "ab"
    assert steps[-1].finish == "length"


def test_a_stop_text_spanning_tokens_ends_the_writing(tokenizer):
    steps, script = written(tokenizer, "Hi\n\nUser: x", max_tokens=20, stop=("\n\nUser:",))
    assert "".join(step.text for step in steps) == "Hi"
    assert steps[-1].finish == "stop"
    assert len(script.heard) == len("Hi\n\nUser:")


def test_what_was_held_back_comes_with_the_last_step(tokenizer):
    steps, _ = written(tokenizer, "Hi\n\nUs", max_tokens=6, stop=("\n\nUser:",))
    assert "".join(step.text for step in steps) == "Hi\n\nUs"
    assert steps[-1].finish == "length"
    steps, _ = written(tokenizer, "Hi\n", max_tokens=9, stop=("\n\n",))
    assert "".join(step.text for step in steps) == "Hi\n"
    assert steps[-1].finish == "eos"


def test_half_a_character_at_the_limit_is_replaced(tokenizer):
    steps, _ = written(tokenizer, "a€", max_tokens=2)
    assert [step.text for step in steps] == ["a", "\ufffd"]


def test_the_penalty_sees_prompt_and_answer(tokenizer):
    script = Scripted([7, 7, 7])
    options = GenerateOptions(max_tokens=3, repetition_penalty=4.0)
    steps = list(generate(script, [7], options))
    # The penalized 7 still beats zeros; a negative logit would not.
    assert [step.token for step in steps] == [7, 7, 7]

    class Even(Scripted):
        def next_logits(self, _ids, _cache, *, watch):  # noqa: ARG002 - the same signature
            return np.array([3.0, 2.9, 2.8, 0.0], np.float32)

    steps = list(generate(Even([]), [0], options))
    assert [step.token for step in steps] == [1, 2, 0]


def test_a_request_beyond_the_context_fails_before_any_work(model):
    script = Scripted([])
    with pytest.raises(LimitError, match="at most 4 new tokens fit"):
        generate(script, [1] * 60, GenerateOptions(max_tokens=5))
    with pytest.raises(LimitError, match="shorten the prompt"):
        generate(script, [1] * 64, GenerateOptions(max_tokens=1))
    assert script.heard == []
    assert len(list(generate(model, [1] * 30, GenerateOptions(max_tokens=2)))) == 2


@pytest.mark.parametrize("option", [{"max_tokens": 0}, {"stop": ("a", "")}, {"temperature": -1.0}])
def test_impossible_options_are_refused(option):
    with pytest.raises(UsageError):
        GenerateOptions(**option)


def test_an_empty_prompt_and_stops_without_tokenizer_are_refused(model):
    with pytest.raises(UsageError, match="no tokens"):
        generate(model, [])
    with pytest.raises(UsageError, match="tokenizer"):
        generate(model, [1], GenerateOptions(stop=("x",), max_tokens=2))


def test_timings_count_computing_and_not_waiting(model):
    import time

    generation = generate(model, [1, 2, 3], GenerateOptions(max_tokens=4))
    for _ in generation:
        time.sleep(0.05)
    timings = generation.timings
    assert (timings.prompt_tokens, timings.tokens) == (3, 4)
    assert 0 < timings.prefill_seconds <= timings.first_token_seconds
    assert 0 < timings.decode_seconds < 0.15
    assert timings.tokens_per_second == 3 / timings.decode_seconds
    assert generation.finish == "length"
    assert list(generation) == []
