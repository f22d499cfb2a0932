"""What each matrix of a model is multiplied with: sums over the tokens of a calibration text.

The text is read in windows by the model itself, in binary32. For each matrix the sums of squares of
its input's elements are kept (an importance matrix), and where it is asked for the sums of products
of any two of them (the Hessian of a layer's error, for GPTQ). Sums are binary64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedError, UsageError
from refquant.quantization.watched import watched
from refquant.runtime import Model

__all__ = ["InputMoments", "collect_inputs", "cut_windows"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class InputMoments:
    """Sums over `rows` inputs of one matrix: of squares, of magnitudes, and of products.

    `largest` is the largest magnitude of each input.
    """

    rows: int
    squares: F64 = field(repr=False)
    magnitudes: F64 = field(repr=False)
    largest: F64 = field(repr=False)
    products: F64 | None = field(default=None, repr=False)

    @property
    def importance(self) -> F32:
        """The mean square of each input, by which errors in its column of weights count."""
        return (self.squares / max(self.rows, 1)).astype(np.float32)

    def add(self, x: F32) -> None:
        """Take the rows of x into the sums."""
        wide = x.astype(np.float64)
        self.rows += len(wide)
        self.squares += np.einsum("ij,ij->j", wide, wide)
        magnitudes = np.abs(wide)
        self.magnitudes += magnitudes.sum(axis=0)
        np.maximum(self.largest, magnitudes.max(axis=0), out=self.largest)
        if self.products is not None:
            self.products += wide.T @ wide


def collect_inputs(
    model: Model,
    tokens: Sequence[int],
    *,
    window: int = 512,
    windows: int | None = None,
    products: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, InputMoments]:
    """The moments of the inputs of every matrix of a layer, by tensor name, over a text's tokens.

    Matrices that are read together (queries, keys and values) share one record. Raises
    `UsageError` for a text shorter than one window, `UnsupportedError` for a model whose weights
    stay packed, that fills in masks, or whose networks are experts.
    """
    if model.weight_mode != "float32":
        raise UnsupportedError("inputs are collected from decoders with weights in float32")
    cuts = cut_windows(model, tokens, window, windows)
    moments: dict[str, InputMoments] = {}

    def seen(names: tuple[str, ...], x: F32, _y: F32) -> None:
        if names[0].startswith("blk."):
            if names[0] not in moments:
                found = _zeros(x.shape[1], products=products)
                moments.update(dict.fromkeys(names, found))
            moments[names[0]].add(x)

    reader = watched(model, seen)
    for index, part in enumerate(cuts):
        reader.next_logits(part, reader.new_cache(len(part)))
        if progress is not None:
            progress(index + 1, len(cuts))
    return moments


def cut_windows(
    model: Model, tokens: Sequence[int], window: int, windows: int | None
) -> list[list[int]]:
    """The text's windows, at most so many; UsageError for a text shorter than one."""
    size = min(window, model.context)
    count = len(tokens) // size if windows is None else min(windows, len(tokens) // size)
    if count < 1:
        raise UsageError(f"the text has {len(tokens)} tokens, less than one window of {size}")
    return [list(tokens[index * size : (index + 1) * size]) for index in range(count)]


def _zeros(width: int, *, products: bool) -> InputMoments:
    square = np.zeros((width, width)) if products else None
    return InputMoments(0, np.zeros(width), np.zeros(width), np.zeros(width), square)
