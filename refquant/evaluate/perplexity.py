"""Perplexity under a stated protocol: how surprised a model is by a text, token by token.

The protocol is that of `windows.py`: figures for one text, tokenizer and window can be compared,
figures of different ones cannot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from refquant.evaluate.windows import log_probabilities, scored, tiles, windows_of
from refquant.runtime import Model

__all__ = ["Mean", "Perplexity", "mean", "perplexity"]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and its standard error, the draws taken as independent."""

    value: float
    error: float


def mean(draws: Sequence[float]) -> Mean:
    """The mean of two or more draws."""
    value = fsum(draws) / len(draws)
    spread = sqrt(fsum((draw - value) ** 2 for draw in draws) / (len(draws) - 1))
    return Mean(value, spread / sqrt(len(draws)))


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The mean negative log-probability of `tokens` scored tokens, in nats, and its spread.

    `error` is the standard error of the mean, the tokens taken as independent draws.
    """

    nats: float
    error: float
    tokens: int
    windows: int
    window: int

    @property
    def value(self) -> float:
        """`exp(nats)`: the number of equally likely tokens that would surprise as much."""
        return exp(self.nats)

    @property
    def value_error(self) -> float:
        """The standard error of `value`, to first order."""
        return self.value * self.error


def perplexity(
    model: Model,
    tokens: Sequence[int],
    *,
    window: int = 512,
    windows: int | None = None,
    bos: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """The perplexity of `model` on a text of `tokens`.

    `windows` limits how many windows are read; `bos`, where given, takes the place of each
    window's first token. Raises `UsageError` for a window that does not fit the model or a text
    shorter than one window, `UnsupportedError` for a model that fills in masks.
    """
    cuts = windows_of(model, tokens, window, windows)
    losses: list[float] = []
    for index, cut in enumerate(cuts):
        rows, targets = scored(model, cut, bos)
        for tile in tiles(len(rows)):
            losses += _losses(rows[tile], targets[tile]).tolist()
        if progress is not None:
            progress(index + 1, len(cuts))
    found = mean(losses)
    return Perplexity(found.value, found.error, len(losses), len(cuts), window)


def _losses(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:  # f32[t, v], i64[t] -> f64[t]
    """Minus the log-probability of each target."""
    return -log_probabilities(logits)[np.arange(len(targets)), targets]
