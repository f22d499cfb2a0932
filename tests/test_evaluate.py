"""Perplexity against figures that can be worked out by hand, and through the command."""

import math

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.evaluate import Recorded, divergence, perplexity
from tests.command_line import call
from tests.roundings import assert_rounded

VOCABULARY = 8

# A loss is log(sum(exp(...))): 2 roundings for each function, 8 for sums, 1 for each difference and
# quotient, and the mean has no more than 4; so are the figures that it is compared with.
BY_HAND = 2 * 20


class Fixed:
    """A stand-in whose logits after a token depend on that token alone."""

    context = 64
    fills_masks = False
    vocabulary = VOCABULARY

    def __init__(self, table):
        self.table = np.asarray(table, np.float32)
        self.read = []

    def new_cache(self, capacity):
        return capacity

    def forward(self, ids, cache):
        assert len(ids) < cache
        self.read.append(list(ids))
        return self.table[np.asarray(ids)]


def test_equal_logits_are_as_surprising_as_the_vocabulary_is_large():
    model = Fixed(np.full((VOCABULARY, VOCABULARY), 3.5))
    found = perplexity(model, list(range(8)) * 4, window=8)
    # log and exp, and what the rounding of log 8 = 2.08 changes in exp.
    assert_rounded(found.value, VOCABULARY, 2 + 2 + 5)
    assert found.error == 0
    assert (found.windows, found.tokens) == (4, 16)


def test_only_second_halves_are_scored_and_each_token_by_the_one_before_it():
    table = np.zeros((VOCABULARY, VOCABULARY))
    table[3, 4] = 2.0  # the first scored token, 4, follows 3
    model = Fixed(table)
    found = perplexity(model, [0, 1, 2, 3, 4, 5, 6, 7], window=8)
    sure = -math.log(math.exp(2) / (math.exp(2) + VOCABULARY - 1))
    assert_rounded(found.nats, (sure + 3 * math.log(VOCABULARY)) / 4, BY_HAND)
    assert model.read == [[0, 1, 2, 3, 4, 5, 6]]


def test_the_error_is_the_standard_error_of_the_mean():
    table = np.zeros((VOCABULARY, VOCABULARY))
    table[3, 4] = 2.0
    found = perplexity(Fixed(table), [0, 1, 2, 3, 4, 5, 6, 7], window=8)
    sure, other = -math.log(math.exp(2) / (math.exp(2) + 7)), math.log(8)
    losses = np.array([sure, other, other, other])
    # The deviation of four losses changes by no more than the loss that changes most.
    assert_rounded(found.error, losses.std(ddof=1) / 2, BY_HAND, size=losses.max())
    assert found.value_error == found.value * found.error


def test_bos_takes_the_place_of_the_first_token_of_a_window():
    model = Fixed(np.zeros((VOCABULARY, VOCABULARY)))
    perplexity(model, list(range(8)) * 2, window=8, bos=7, windows=1)
    assert model.read == [[7, 1, 2, 3, 4, 5, 6]]


def test_huge_logits_do_not_overflow():
    table = np.full((VOCABULARY, VOCABULARY), -3e38)
    table[:, 0] = 3e38
    assert perplexity(Fixed(table), [0] * 8, window=8).nats == 0


@pytest.mark.parametrize(("window", "tokens"), [(3, 64), (65, 100), (16, 15)])
def test_windows_that_cannot_be_are_refused(window, tokens):
    with pytest.raises(UsageError):
        perplexity(Fixed(np.zeros((8, 8))), [0] * tokens, window=window)


def test_the_command_prints_the_figure_with_its_protocol(capsys):
    done = call(capsys, "eval", "demo", "--windows", "2", "--json")
    assert done.status == 0, done.err
    facts = done.json
    assert facts["schema"] == "refquant.eval/1"
    assert facts["windows"] == 2
    assert facts["scored_tokens"] == 512
    assert 15 < facts["perplexity"] < 60
    assert facts["perplexity"] == math.exp(facts["nats_per_token"])
    shown = call(capsys, "eval", "demo", "--windows", "1", "--window", "64")
    assert "1 windows of 64 tokens" in shown.out


def test_no_windows_are_a_usage_error(capsys):
    done = call(capsys, "eval", "demo", "--windows", "0")
    assert (done.status, "windows is 0, expected 1 or more" in done.err) == (2, True)


def test_a_text_that_is_not_there_is_a_usage_error(capsys, tmp_path):
    done = call(capsys, "eval", "demo", "--text", tmp_path / "none.txt")
    assert done.status == 2
    assert "none.txt" in done.err


def test_the_divergence_of_two_distributions_by_hand():
    """p = (4, 1, ... 1) / 11 by the reference, q = (1, ... 1) / 8 by the model."""
    table = np.zeros((VOCABULARY, VOCABULARY))
    table[:, 0] = four = np.float32(math.log(4))
    reference, model = Fixed(table), Fixed(np.ones((VOCABULARY, VOCABULARY)))
    found = divergence(model, reference, [1, 2, 3, 4, 5, 6, 7, 0], window=8)
    four = math.exp(four)  # ln 4 is rounded, a logit being of binary32
    p = np.array([four, *7 * [1]]) / (four + 7)
    terms = p * np.log(p * 8)
    # Terms cancel: each is a chance times two logarithms of up to ln 11.
    assert_rounded(found.kl.value, terms.sum(), BY_HAND, size=math.log(11))
    assert found.kl.error == 0  # the same at every token
    assert found.median == found.largest == found.kl.value
    assert found.same_top.value == 1  # the first of all equals is token 0
    losses = math.log(8) + np.log(p[[1, 1, 1, 0]])
    assert_rounded(found.more_loss.value, losses.mean(), BY_HAND, size=math.log(11))
    assert_rounded(found.more_loss.error, losses.std(ddof=1) / 2, BY_HAND, size=math.log(11))
    assert_rounded(found.model.value, 8, 2 + 2 + 5)
    assert found.reference == perplexity(reference, [1, 2, 3, 4, 5, 6, 7, 0], window=8)


def test_a_model_does_not_diverge_from_itself():
    table = np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY))
    recorded = Recorded(Fixed(table))
    for _ in range(2):
        found = divergence(
            Fixed(table), recorded, [0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0], window=8
        )
        assert (found.kl.value, found.largest, found.more_loss.value) == (0, 0, 0)
        assert (found.same_top.value, found.same_top.error) == (1, 0)
    assert len(recorded.model.read) == 2  # two windows, each once


def test_where_the_tops_differ():
    first, second = np.zeros((2, VOCABULARY, VOCABULARY))
    first[3, 4], second[3, 5] = 5, 5
    found = divergence(Fixed(first), Fixed(second), [0, 1, 2, 3, 4, 5, 6, 7], window=8)
    assert found.same_top.value == 0.75
    assert found.same_top.error == math.sqrt(0.75 * 0.25 / 3)


def test_models_of_other_vocabularies_are_not_compared():
    other = Fixed(np.zeros((8, 8)))
    other.vocabulary = 9
    with pytest.raises(UsageError, match="the reference knows 9 tokens and the model 8"):
        divergence(Fixed(np.zeros((8, 8))), other, [0] * 8, window=8)


def test_the_command_compares_with_a_reference(capsys, tmp_path):
    path = tmp_path / "small.rq"
    assert call(capsys, "quantize", "demo", "-o", path, "--scheme", "q4_0").status == 0
    options = ("--windows", "1", "--window", "128")
    done = call(capsys, "eval", path, "--reference", "demo", *options, "--json")
    assert done.status == 0, done.err
    facts = done.json["reference"]
    assert 1e-4 < facts["kl"] < 0.1
    assert facts["kl_median"] < facts["kl"] < facts["kl_percentile_99"] < facts["kl_largest"]
    assert 0.7 < facts["same_top"] < 1
    alone = call(capsys, "eval", "demo", *options, "--json").json
    assert facts["perplexity"] == alone["perplexity"]
    difference = math.log(done.json["perplexity"] / facts["perplexity"])
    # Both figures went through exp, and come back through log; a mean is rounded once.
    assert_rounded(facts["more_nats"], difference, 32, size=done.json["nats_per_token"])
    shown = call(capsys, "eval", path, "--reference", "demo", *options).out
    assert "nats per token (KL from the reference)" in shown
