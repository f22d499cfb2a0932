"""The protocol of every measure on a text: windows that do not overlap, second halves scored.

Each window is read in one pass from an empty cache, and the tokens of its second half are scored,
so that every scored token has at least half a window before it. llama.cpp's perplexity tool does
the same, so figures for one file can be compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedError, UsageError
from refquant.runtime import Model

__all__ = ["log_probabilities", "scored", "tiles", "windows_of"]

ROWS = 32
"""Logits turned to binary64 at once: a few MB even for large vocabularies."""


def windows_of(
    model: Model, tokens: Sequence[int], window: int, windows: int | None
) -> list[list[int]]:
    """The windows of a text, at most `windows` of them.

    Raises `UsageError` for a window that does not fit the model or a text shorter than one window,
    `UnsupportedError` for a model that fills in masks.
    """
    if model.fills_masks:
        raise UnsupportedError(
            "perplexity asks for each next token, and this model fills in masks instead"
        )
    if not 4 <= window <= model.context:
        raise UsageError(f"a window of {window} tokens; expected 4 to {model.context}")
    if windows is not None and windows < 1:
        raise UsageError(f"windows is {windows}, expected 1 or more")
    available = len(tokens) // window
    count = available if windows is None else min(windows, available)
    if count < 1:
        raise UsageError(f"the text has {len(tokens)} tokens, less than one window of {window}")
    return [list(tokens[index * window : (index + 1) * window]) for index in range(count)]


def scored(
    model: Model, tokens: list[int], bos: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:  # -> f32[t, v], i64[t]
    """The logits from which the second half of a window is scored, and its tokens."""
    read = tokens if bos is None else [bos, *tokens[1:]]
    logits = model.forward(read[:-1], model.new_cache(len(read)))
    first = len(tokens) // 2
    return logits[first - 1 :], np.asarray(tokens[first:])


def tiles(count: int) -> Iterator[slice]:
    """A few rows at a time."""
    for start in range(0, count, ROWS):
        yield slice(start, start + ROWS)


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of every token, in binary64 from the model's binary32 logits: f32[t, v] -> f64[t, v]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide
