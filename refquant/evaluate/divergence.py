"""How far a model's predictions are from those of the model it was made from.

Perplexity only asks about the token that the text has. The Kullback-Leibler divergence asks about
all of them: `sum(p * (log p - log q))` over the vocabulary, where p is what the reference expects
of the next token and q what the model does. It is 0 where both agree and never negative, and its
spread from token to token is far smaller than that of the loss, so that it tells models apart
whose perplexities do not. The protocol is that of `windows.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError
from refquant.evaluate.perplexity import Mean, Perplexity, mean
from refquant.evaluate.windows import log_probabilities, scored, tiles, windows_of
from refquant.runtime import Model

__all__ = ["Divergence", "Recorded", "divergence"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The divergence of each scored token in nats: its mean, and where most and the worst ones lie.

    `same_top` is the share of tokens of which both models expect the same next one most; a tie goes
    to the lower token. `more_loss` is how much more the text surprises the model than the
    reference, in nats, as the mean of the difference at each token. `each` has the divergence of
    every token, so that two models can be compared token by token.
    """

    kl: Mean
    median: float
    percentile_99: float
    largest: float
    same_top: Mean
    more_loss: Mean
    model: Perplexity
    reference: Perplexity
    each: F64 = field(repr=False, compare=False)


class Recorded:
    """A reference that keeps what it said, for many models on one text: 4 bytes a logit."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._said: dict[tuple[int, ...], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def scored(
        self, tokens: list[int], bos: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same as of a model, read once."""
        key = (-1 if bos is None else bos, *tokens)
        if key not in self._said:
            rows, targets = scored(self.model, tokens, bos)
            # A copy: the rows are part of an array twice their size.
            self._said[key] = rows.copy(), targets
        return self._said[key]


def divergence(
    model: Model,
    reference: Model | Recorded,
    tokens: Sequence[int],
    *,
    window: int = 512,
    windows: int | None = None,
    bos: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Divergence:
    """The divergence of `model` from `reference` on a text of `tokens`.

    Arguments and errors are those of `perplexity`; `UsageError` also for models of which one knows
    more tokens than the other.
    """
    original = reference.model if isinstance(reference, Recorded) else reference
    if original.vocabulary != model.vocabulary:
        raise UsageError(
            f"the reference knows {original.vocabulary} tokens and the model {model.vocabulary}: "
            "their predictions cannot be compared"
        )
    windows_of(original, tokens, window, windows)
    cuts = windows_of(model, tokens, window, windows)
    parts: list[F64] = []
    for index, cut in enumerate(cuts):
        rows, targets = scored(model, cut, bos)
        expected, _ = (
            reference.scored(cut, bos)
            if isinstance(reference, Recorded)
            else scored(reference, cut, bos)
        )
        parts += [_compared(rows[one], expected[one], targets[one]) for one in tiles(len(rows))]
        if progress is not None:
            progress(index + 1, len(cuts))
    return _summed_up(np.concatenate(parts, axis=1), len(cuts), window)


def _compared(
    logits: NDArray[np.float32], expected: NDArray[np.float32], targets: NDArray[np.int64]
) -> F64:  # f32[t, v], f32[t, v], i64[t] -> f64[4, t]
    """Of each token: the divergence, whether the most likely one is the same, and both losses."""
    model, reference = log_probabilities(logits), log_probabilities(expected)
    kl = np.einsum("tv,tv->t", np.exp(reference), reference - model)
    same = logits.argmax(axis=1) == expected.argmax(axis=1)
    at = np.arange(len(targets)), targets
    # Rounding may leave a divergence of 0 a little below it.
    return np.stack([np.maximum(kl, 0.0), same.astype(np.float64), -model[at], -reference[at]])


def _summed_up(found: F64, windows: int, window: int) -> Divergence:
    tokens, share = found.shape[1], float(found[1].mean())
    own, others = mean(found[2].tolist()), mean(found[3].tolist())
    return Divergence(
        kl=mean(found[0].tolist()),
        median=float(np.median(found[0])),
        percentile_99=float(np.quantile(found[0], 0.99)),
        largest=float(found[0].max()),
        same_top=Mean(share, sqrt(share * (1 - share) / (tokens - 1))),
        more_loss=mean((found[2] - found[3]).tolist()),
        model=Perplexity(own.value, own.error, tokens, windows, window),
        reference=Perplexity(others.value, others.error, tokens, windows, window),
        each=found[0],
    )
