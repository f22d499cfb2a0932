"""A number added to the logits of some tokens."""

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.runtime.sampling import Sampler, SamplingOptions
from tests.command_line import call, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("bias") / "small.rq")


def test_the_number_is_added_before_anything_else():
    logits = np.float32([1, 2, 3])
    biased = Sampler(SamplingOptions(logit_bias=((0, 2.5), (2, float("-inf")))))
    assert biased.choose(logits) == 0
    assert logits.tolist() == [1, 2, 3]
    drawn = Sampler(SamplingOptions(temperature=9.0, logit_bias=((2, float("-inf")),)))
    assert {drawn.choose(logits) for _ in range(50)} == {0, 1}


@pytest.mark.parametrize("bias", [((0, 1.0), (0, 2.0)), ((0, float("nan")),), ((-1, 0.0),)])
def test_a_bias_that_cannot_be_meant(bias):
    with pytest.raises(UsageError, match="logit_bias"):
        SamplingOptions(logit_bias=bias)


def test_every_token_forbidden_or_unknown_is_told():
    never = float("-inf")
    with pytest.raises(UsageError, match="forbids every token"):
        Sampler(SamplingOptions(logit_bias=((0, never), (1, never)))).choose(np.float32([1, 2]))
    with pytest.raises(UsageError, match="the model has 2"):
        Sampler(SamplingOptions(logit_bias=((7, 1.0),))).choose(np.float32([1, 2]))


def test_the_option_takes_texts_and_ids(capsys, model):
    for token in ("z", _id_of_z(capsys, model)):
        found = call(capsys, "run", model, "-p", "It", "-n", 3, "--logit-bias", f"{token}=1000")
        assert (found.status, found.out) == (0, "zzz\n")


def _id_of_z(capsys, model):
    return call(capsys, "run", model, "-p", "z", "-n", 1, "--json").json["prompt_ids"][-1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("z", "expected TOKEN=NUMBER"),
        ("z=much", "expected TOKEN=NUMBER"),
        ("zebra=1", "is 5 tokens"),
        ("9999=1", "no id of this model"),
        ("z=inf", "numbers of binary32"),
        ("5=1e300", "numbers of binary32"),
        ("5=-1e300", "numbers of binary32"),
        ("\u0663=1", "is 2 tokens"),
    ],
)
def test_mistakes_in_the_option_are_told(capsys, model, option, message):
    found = call(capsys, "run", model, "-p", "It", "--logit-bias", option)
    assert found.status == 2
    assert message in found.err
