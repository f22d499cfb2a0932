"""Perplexity under a stated protocol: how surprised a model is by a text, token by token.

The text's tokens are cut into windows that do not overlap. Each window is read in one pass from
an empty cache, and the tokens of its second half are scored, so that every scored token has at
least half a window before it. The protocol is that of llama.cpp's perplexity tool, so figures for
one file can be compared; figures of different windows or tokenizers cannot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedError, UsageError
from refquant.runtime import Model

__all__ = ["Perplexity", "perplexity"]

ROWS = 32
"""Logits turned to binary64 at once: a few MB even for large vocabularies."""


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
    if model.fills_masks:
        raise UnsupportedError(
            "perplexity asks for each next token, and this model fills in masks instead"
        )
    if not 4 <= window <= model.context:
        raise UsageError(f"a window of {window} tokens; expected 4 to {model.context}")
    available = len(tokens) // window
    count = available if windows is None else min(windows, available)
    if count < 1:
        raise UsageError(f"the text has {len(tokens)} tokens, less than one window of {window}")
    losses: list[float] = []
    for index in range(count):
        cut = list(tokens[index * window : (index + 1) * window])
        losses += _window_losses(model, cut, bos)
        if progress is not None:
            progress(index + 1, count)
    mean = fsum(losses) / len(losses)
    spread = sqrt(fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1))
    return Perplexity(mean, spread / sqrt(len(losses)), len(losses), count, window)


def _window_losses(model: Model, tokens: list[int], bos: int | None) -> list[float]:
    read = tokens if bos is None else [bos, *tokens[1:]]
    logits = model.forward(read[:-1], model.new_cache(len(read)))
    first = len(tokens) // 2
    rows = logits[first - 1 :]
    targets = np.asarray(tokens[first:])
    losses: list[float] = []
    for start in range(0, len(rows), ROWS):
        losses += _losses(rows[start : start + ROWS], targets[start : start + ROWS]).tolist()
    return losses


def _losses(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:  # f32[t, v], i64[t] -> f64[t]
    """Minus the log-probability of each target, in binary64 from the model's binary32 logits."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    total = np.log(np.exp(wide).sum(axis=1))
    return np.asarray(total - wide[np.arange(len(targets)), targets])
