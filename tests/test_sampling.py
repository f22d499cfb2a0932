"""Choosing tokens: order of steps, ties, seeds, limits."""

import numpy as np
import pytest

from refquant.errors import UsageError
from refquant.runtime.sampling import Sampler, SamplingOptions, greedy, penalize, survivors
from tests.roundings import SINGLE, assert_rounded


def f32(*values):
    return np.array(values, np.float32)


def kept(logits, **options):
    ids, weights = survivors(logits, SamplingOptions(**({"temperature": 1.0} | options)))
    return ids.tolist(), weights


def test_greedy_takes_the_lowest_of_equal_ids():
    assert greedy(f32(1, 3, 2, 3)) == 1
    assert greedy(f32(-0.0, 0.0)) == 0
    assert greedy(f32(-np.inf, -5)) == 1


def test_temperature_zero_is_greedy():
    assert Sampler(SamplingOptions()).choose(f32(1, 3, 2, 3)) == 1


def test_survivors_come_by_probability_then_by_id():
    ids, weights = kept(f32(0, 2, 2, 1))
    assert ids == [1, 2, 3, 0]
    assert weights[0] == weights[1] == 1.0


@pytest.mark.parametrize(
    ("k", "ids"), [(0, [1, 3, 2, 0]), (1, [1]), (2, [1, 3]), (3, [1, 3, 2]), (9, [1, 3, 2, 0])]
)
def test_top_k_breaks_ties_by_the_lowest_id(k, ids):
    assert kept(f32(0, 5, 1, 5), top_k=k)[0] == ids
    assert kept(f32(7, 7, 7, 7, 7), top_k=2)[0] == [0, 1]


def test_many_equal_tokens_stay_in_the_order_of_their_ids():
    logits = np.repeat(f32(1, 2), 500)
    assert kept(logits)[0] == [*range(500, 1000), *range(500)]
    assert kept(logits, top_k=501)[0] == [*range(500, 1000), 0]


def test_top_p_keeps_the_fewest_that_reach_it():
    # Probabilities 1/2, 1/4, 1/8, 1/8, but for the rounding of log 2.
    logits = f32(2, 1, 0, 0) * np.float32(np.log(2))
    ids, weights = kept(logits, top_p=0.9999)
    assert len(ids) == 4
    # Logits differ by at most 2 log 2, which is rounded by at most 2 * 2**-25; that it is an
    # exponent of, and the function itself, stay below one more rounding.
    assert_rounded(weights, [1.0, 0.5, 0.25, 0.25], 2, SINGLE)
    for top_p, count in (
        (1e-9, 1),
        (0.49, 1),
        (0.51, 2),
        (0.74, 2),
        (0.76, 3),
        (0.88, 4),
        (1.0, 4),
    ):
        assert len(kept(logits, top_p=top_p)[0]) == count, top_p


def test_top_p_is_reached_by_its_own_value():
    assert kept(f32(1, 1), top_p=0.5)[0] == [0]
    assert kept(f32(1, 1), top_p=np.nextafter(0.5, 1))[0] == [0, 1]


def test_min_p_keeps_what_is_near_the_first():
    logits = f32(0, np.log(0.5), np.log(0.1))
    for min_p, count in ((0.0, 3), (0.09, 3), (0.11, 2), (0.49, 2), (0.51, 1), (1.0, 1)):
        assert len(kept(logits, min_p=min_p)[0]) == count, min_p


def test_temperature_comes_before_top_p():
    # At temperature 1 the first token holds 0.73 of the whole; at 4 only 0.56.
    logits = f32(1, 0)
    assert len(kept(logits, top_p=0.7)[0]) == 1
    assert len(kept(logits, top_p=0.7, temperature=4.0)[0]) == 2


def test_penalty_divides_what_is_positive_and_multiplies_what_is_negative():
    logits = f32(2, -2, 3, 0)
    assert penalize(logits, [0, 1, 1, 3], 2.0).tolist() == [1, -4, 3, 0]
    assert logits.tolist() == [2, -2, 3, 0]
    assert Sampler(SamplingOptions(repetition_penalty=2.0)).choose(logits, {2}) == 0


def test_a_seed_fixes_the_draws():
    logits = np.random.default_rng(0).standard_normal(50).astype(np.float32)

    def draws(seed):
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed))
        return [sampler.choose(logits) for _ in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_a_draw_is_the_stated_function_of_the_pcg64_stream():
    # 53 bits of the raw stream over the cumulative weights of ids in order of probability.
    logits = f32(0.3, 1.5, -2, 0.3)
    ids, weights = kept(logits)
    raw = np.random.PCG64(11).random_raw(200)
    points = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    sampler = Sampler(SamplingOptions(temperature=1.0, seed=11))
    ends = np.cumsum(weights)
    for point in points:
        assert sampler.choose(logits) == ids[int(np.sum(ends <= point * ends[-1]))]


def test_draws_follow_the_probabilities():
    logits = np.log(f32(0.5, 0.3, 0.2))
    sampler = Sampler(SamplingOptions(temperature=1.0, seed=1))
    counts = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=3)
    # Six standard deviations of a binomial count.
    for count, p in zip(counts, (0.5, 0.3, 0.2), strict=True):
        assert abs(count - 4000 * p) <= 6 * np.sqrt(4000 * p * (1 - p))


class Fixed:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize(
    ("number", "token"),
    [(0.0, 1), (np.nextafter(0.5, 0), 1), (0.5, 3), (1 - 2.0**-53, 3), (1.0, 3)],
)
def test_intervals_hold_their_lower_end_and_not_their_upper(number, token):
    sampler = Sampler(SamplingOptions(temperature=1.0))
    sampler._random = Fixed(number)
    assert sampler.choose(f32(-np.inf, 2, -np.inf, 2)) == token


def test_hidden_tokens_are_never_drawn():
    sampler = Sampler(SamplingOptions(temperature=5.0, seed=2))
    assert {sampler.choose(f32(-np.inf, 1, -np.inf, 0)) for _ in range(300)} == {1, 3}


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"min_p": -0.1},
        {"repetition_penalty": 0.0},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_impossible_options_are_refused(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        SamplingOptions(**option)
