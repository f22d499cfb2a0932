"""Choosing the next token from logits.

The bias comes first, then Hugging Face's steps in their order: repetition penalty, temperature,
top-k, top-p, min-p, then one draw. Tokens of equal probability stand in the order of their ids, so
that the outcome is a function of the logits, the options and the seed alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError
from refquant.runtime.ops import Floats

__all__ = ["Sampler", "SamplingOptions", "bias", "greedy", "penalize", "survivors"]

_LARGEST_BIAS: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn.

    `temperature` divides the logits; 0 takes the largest. `top_k` keeps that many tokens (0: all);
    `top_p` the fewest whose probabilities reach it (1: all); `min_p` those at least this fraction
    as probable as the first (0: all). `repetition_penalty` shrinks the logits of tokens already
    seen (1: none). `seed` starts a PCG64 stream, one double for each token drawn. `logit_bias`
    holds pairs of an id and the number that is added to its logit; -inf forbids it.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        laws = (
            ("temperature", 0.0 <= self.temperature < float("inf"), "a finite number, 0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", 0.0 <= self.min_p <= 1.0, "from 0 to 1"),
            (
                "repetition_penalty",
                0.0 < self.repetition_penalty < float("inf"),
                "a finite number above 0",
            ),
            (
                "logit_bias",
                _is_bias(self.logit_bias),
                "ids, each once, with numbers of binary32 or -inf",
            ),
            ("seed", 0 <= self.seed < 2**64, "from 0 to 2**64 - 1"),
        )
        for name, holds, law in laws:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)}, expected {law}")


class Sampler:
    """Draws one token after another; two samplers with the same options draw alike."""

    def __init__(self, options: SamplingOptions) -> None:
        self.options = options
        self._random: np.random.Generator | None = None

    def choose(self, logits: Floats, seen: Collection[int] = ()) -> int:  # f32[v] -> id
        """The next token, given the ids that `repetition_penalty` holds against the model."""
        options = self.options
        if options.logit_bias:
            logits = bias(logits, options.logit_bias)
        if options.repetition_penalty != 1.0 and seen:
            logits = penalize(logits, seen, options.repetition_penalty)
        if options.temperature == 0.0:
            return greedy(logits)
        ids, probabilities = survivors(logits, options)
        cumulative = np.cumsum(probabilities)
        # A product that rounds up to the whole would fall behind every token, or on an impossible
        # one at the end.
        whole = cumulative[-1]
        point = min(self._generator().random() * whole, np.nextafter(whole, 0.0))
        place = int(np.searchsorted(cumulative, point, side="right"))
        return int(ids[place])

    def _generator(self) -> "np.random.Generator":  # quoted, because the module loads late
        if self._random is None:
            self._random = np.random.Generator(np.random.PCG64(self.options.seed))
        return self._random


def _is_bias(pairs: Sequence[tuple[int, float]]) -> bool:
    ids = [token for token, _ in pairs]
    return len(set(ids)) == len(ids) and all(
        token >= 0 and (abs(number) <= _LARGEST_BIAS or number == float("-inf"))
        for token, number in pairs
    )


def bias(logits: Floats, pairs: Sequence[tuple[int, float]]) -> Floats:  # f32[v] -> f32[v]
    """The logits with a number added to some of them; UsageError for an id that the model lacks."""
    changed = logits.copy()
    for token, number in pairs:
        if token >= len(changed):
            raise UsageError(f"logit_bias names the token {token}, the model has {len(changed)}")
        changed[token] += np.float32(number)
    if np.isneginf(changed).all():
        raise UsageError("logit_bias forbids every token")
    return changed


def greedy(logits: Floats) -> int:  # f32[v] -> id
    """The id of the largest logit; of equals, the lowest id."""
    return int(np.argmax(logits))


def penalize(logits: Floats, seen: Collection[int], penalty: float) -> Floats:  # f32[v] -> f32[v]
    """The logits with those of seen tokens divided by the penalty, or multiplied if negative."""
    ids = np.fromiter(set(seen), np.int64)
    penalized = logits.copy()
    chosen = logits[ids]
    factor = np.float32(penalty)
    penalized[ids] = np.where(chosen > 0, chosen / factor, chosen * factor)
    return penalized


def survivors(
    logits: Floats, options: SamplingOptions
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # f32[v] -> i64[n], f64[n]
    """The ids that may be drawn, most probable first, and their probabilities up to a factor."""
    ids = _largest(logits, options.top_k)
    scaled = logits[ids].astype(np.float64) / options.temperature
    probabilities = np.exp(scaled - scaled[0])
    keep = len(ids)
    if options.top_p < 1.0:
        cumulative = np.cumsum(probabilities)
        keep = int(np.searchsorted(cumulative, options.top_p * cumulative[-1], side="left")) + 1
    if options.min_p > 0.0:
        keep = min(keep, int(np.count_nonzero(probabilities >= options.min_p)))
    return ids[:keep], probabilities[:keep]


def _largest(logits: Floats, count: int) -> NDArray[np.int64]:
    """Ids by falling logit, equals by rising id: the first `count`, or all if it is 0."""
    candidates: NDArray[Any] = np.arange(len(logits))
    if 0 < count < len(logits):
        # Everything that equals the last survivor stays until the sort has settled the order.
        limit = np.partition(logits, len(logits) - count)[len(logits) - count]
        candidates = np.flatnonzero(logits >= limit)
    else:
        count = len(logits)
    order = np.argsort(-logits[candidates], kind="stable")
    return candidates[order[:count]].astype(np.int64)
