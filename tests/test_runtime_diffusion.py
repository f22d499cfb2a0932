"""Filling in masks, beside a plain loop that keeps nothing and computes every text whole."""

import math

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.runtime import DiffusionOptions, GenerateOptions, generate, load_model
from refquant.runtime.diffusion import BlockWriter
from refquant.runtime.sampling import Sampler, SamplingOptions
from tests.architecture_models import golden

PROMPT = [3, 14, 15, 9, 2, 6]
MASK = 19
FAMILIES = ["dream", "llada", "sdar"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(golden(request.param)[0])


def probabilities(model, text):
    """For each position the probabilities of its token, the mask's being none; lists of floats."""
    logits = model.forward(text, model.new_cache(len(text))).astype(np.float64)
    if model.architecture.family == "dream":
        logits = logits[[0, *range(len(text) - 1)]]
    rows = []
    for row in logits.tolist():
        powers = [0.0 if n == MASK else math.exp(x) for n, x in enumerate(row)]
        rows.append([power / sum(powers) for power in powers])
    return rows


def confidence_of(shares, kind):
    ordered = sorted(shares)
    if kind == "margin":
        return ordered[-1] - ordered[-2]
    if kind == "entropy":
        return sum(p * math.log(p) for p in shares if p > 0)
    return ordered[-1]


def plainly(model, prompt, count, options):
    """The continuation, and how many passes each block took."""
    in_blocks = model.architecture.family == "sdar"
    length = 4 if in_blocks else options.block or 32
    end = len(prompt) + count
    text, passes = list(prompt), []
    while len(text) < end:
        start = len(text) // length * length if in_blocks else len(text)
        stop = start + length if in_blocks else min(start + length, end)
        text += [MASK] * (stop - len(text))
        masks = text.count(MASK)
        asked = options.passes or length
        number = 0
        while MASK in text:
            later = 0 if in_blocks else end - stop
            shares = probabilities(model, text + [MASK] * later)
            hidden = [place for place in range(start, stop) if text[place] == MASK]
            sureness = {place: confidence_of(shares[place], options.confidence) for place in hidden}
            order = sorted(hidden, key=lambda place: -sureness[place])
            quota = masks // asked + (number < masks % asked) if number < asked else 1
            kept = {*order[: max(1, quota)]}
            kept |= {place for place in hidden if sureness[place] > options.threshold}
            for place in kept:
                text[place] = int(np.argmax(shares[place]))
            number += 1
        passes.append(number)
    return text[len(prompt) : end], passes


OPTIONS = {
    "one by one": DiffusionOptions(threshold=1.0, block=8),
    "by a threshold": DiffusionOptions(threshold=0.12, block=8),
    "in two passes": DiffusionOptions(threshold=1.0, block=8, passes=2),
    "in three passes": DiffusionOptions(threshold=1.0, block=8, passes=3),
    "by margins": DiffusionOptions(threshold=0.03, confidence="margin", block=8),
    "by entropy": DiffusionOptions(threshold=-2.2, confidence="entropy", block=8),
}


def fitting(model, options):
    """SDAR's blocks are its own."""
    changes = {"block": None} if model.architecture.family == "sdar" else {}
    return DiffusionOptions(
        **{name: getattr(options, name) for name in DiffusionOptions.__slots__} | changes
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT[:4], PROMPT[:1]], ids=["6", "4", "1"])
def test_the_writer_fills_what_a_plain_loop_fills(model, options, prompt):
    options = fitting(model, options)
    expected, passes = plainly(model, prompt, 13, options)
    writer = BlockWriter(model, prompt, 13, Sampler(SamplingOptions()), options)
    assert [writer.next() for _ in expected] == expected
    assert MASK not in expected
    if model.architecture.family != "sdar":
        assert writer.passes == sum(passes)
    else:
        # Kept: the prompt's whole blocks, and every block but the last.
        assert writer.passes == sum(passes) + (len(prompt) >= 4) + len(passes) - 1


def test_a_low_threshold_needs_fewer_passes(model):
    def passes(threshold):
        options = fitting(model, DiffusionOptions(threshold=threshold, block=8))
        writer = BlockWriter(model, PROMPT, 8, Sampler(SamplingOptions()), options)
        for _ in range(8):
            writer.next()
        return writer.passes

    assert passes(0.0) < passes(1.0)


@pytest.mark.parametrize("name", ["dream", "llada"])
def test_kept_blocks_are_computed_from_finished_tokens(name):
    model = load_model(golden(name)[0])
    options = DiffusionOptions(threshold=1.0, block=4, keep_blocks=True)
    writer = BlockWriter(model, PROMPT, 8, Sampler(SamplingOptions()), options)
    text = PROMPT + [writer.next() for _ in range(5)]
    # The second block was begun, so the first is kept: as two calls on finished tokens keep it.
    cache = model.new_cache(10)
    model.forward(text[:6], cache)
    model.forward(text[6:10], cache)
    kept = writer._cache
    assert kept.length == cache.length == 10
    assert np.array_equal(kept.keys.numbers[:, :, :10], cache.keys.numbers[:, :, :10])
    assert np.array_equal(kept.values.numbers[:, :, :10], cache.values.numbers[:, :, :10])


def test_generate_writes_and_stops_at_the_end(model):
    steps = list(generate(model, PROMPT, GenerateOptions(max_tokens=9)))
    assert len(steps) == 9
    assert [step.finish for step in steps] == [""] * 8 + ["length"]
    assert all(step.token != MASK for step in steps)


def test_drawn_tokens_repeat_with_their_seed(model):
    options = GenerateOptions(max_tokens=9, temperature=1.0, seed=5)
    first, second = ([step.token for step in generate(model, PROMPT, options)] for _ in range(2))
    other = GenerateOptions(max_tokens=9, temperature=1.0, seed=6)
    assert first == second
    assert first != [step.token for step in generate(model, PROMPT, other)]


@pytest.mark.parametrize(
    "wrong",
    [{"block": 0}, {"passes": 0}, {"threshold": math.nan}, {"confidence": "courage"}],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DiffusionOptions(**wrong)


def test_a_models_own_blocks_cannot_be_changed():
    model = load_model(golden("sdar")[0])
    with pytest.raises(UsageError, match="blocks have 4 tokens"):
        generate(model, PROMPT, GenerateOptions(max_tokens=8), diffusion=DiffusionOptions(block=8))


def test_the_context_ends_the_last_block():
    model = load_model(golden("sdar")[0])
    steps = list(generate(model, PROMPT, GenerateOptions(max_tokens=58)))
    assert len(steps) == 58


def test_a_kept_block_of_one_follows_from_the_tokens_before_it():
    # Dream takes the logits for a position from the one before it, which is kept and not computed.
    model = load_model(golden("dream")[0])
    options = DiffusionOptions(block=1, keep_blocks=True)
    writer = BlockWriter(model, PROMPT, 6, Sampler(SamplingOptions()), options)
    cache, pending = model.new_cache(16), PROMPT
    for _ in range(6):
        logits = model.next_logits(pending, cache).copy()
        logits[MASK] = -np.inf
        pending = [int(np.argmax(logits))]
        assert writer.next() == pending[0]
