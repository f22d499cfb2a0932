"""What a quantized file lost beside its source: the errors of every tensor, measured on the file.

With e = w' - w over all weights of a tensor: RMSE sqrt(mean e**2); relative RMSE, that over the
root mean square of w; SQNR 10 log10(sum w**2 / sum e**2) in decibel; cosine of the angle between w'
and w; the largest |e|; and of the runs of 32 weights along a row the one with the largest sum of
squares, where it is. Sums are taken in float64 over rows that are decoded a few at a time.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError, UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.mapped import let_go
from refquant.quantization.folding import Fold
from refquant.recipe import Assignment, Recipe, layer_of, role_of
from refquant.tensor import QuantizedTensor

__all__ = ["TensorErrors", "errors_of", "report_data", "tensor_errors"]

F32 = NDArray[np.float32]

CHUNK: Final = 1 << 20
"""Weights that are compared at once."""

RUN: Final = 32
"""Weights of a run, of which the worst is told."""

BINS: Final = 41
"""Bins of a histogram of errors."""

SAMPLE: Final = 1 << 14
"""Weights that a histogram counts, from the first rows."""


@dataclass(frozen=True, slots=True)
class TensorErrors:
    """The errors of one tensor; `histogram` counts e / (largest |e| of the sample) from -1 to 1.

    SQNR is None where nothing was lost, and the cosine where a tensor is zero.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, ...]
    source: str
    scheme: str
    rule: int | None
    nbytes: int
    bits_per_weight: float
    rmse: float
    relative_rmse: float
    sqnr_db: float | None
    cosine: float | None
    max_error: float
    worst_run: tuple[int, int] | None
    histogram: tuple[int, ...]


def errors_of(
    source: Checkpoint,
    made: Checkpoint,
    assignments: Sequence[Assignment],
    folds: Mapping[str, Fold] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Iterator[TensorErrors]:
    """The errors of every tensor of a file that was made from a source.

    Where AWQ multiplied columns, `folds` says by what, and the file is compared with the product.
    """
    for one in assignments:
        fold = (folds or {}).get(one.tensor)
        yield tensor_errors(one, source.tensors[one.tensor], made.tensors[one.tensor], fold)
        for checkpoint in (source, made):
            for plane in checkpoint.tensors[one.tensor].planes.values():
                let_go(plane)
        if progress is not None:
            progress(one.tensor, one.weights)


@dataclass(slots=True)
class _Sums:
    """What is summed over a tensor's rows."""

    lost: float = 0.0
    whole: float = 0.0
    again: float = 0.0
    both: float = 0.0
    largest: float = 0.0
    worst: float = -1.0
    place: tuple[int, int] | None = None

    def add(self, w: F32, found: F32, first: int) -> None:  # f32[r, k], f32[r, k]
        """Take some rows in; the first of them is row `first`."""
        error = found.astype(np.float64) - w
        wide, again = w.astype(np.float64).reshape(-1), found.astype(np.float64).reshape(-1)
        flat = error.reshape(-1)
        self.lost += float(flat @ flat)
        self.whole += float(wide @ wide)
        self.again += float(again @ again)
        self.both += float(wide @ again)
        self.largest = max(self.largest, float(np.abs(flat).max()))
        if w.shape[-1] % RUN == 0:
            runs = np.einsum("rnk,rnk->rn", *2 * [error.reshape(len(w), -1, RUN)])
            row, run = np.unravel_index(int(runs.argmax()), runs.shape)
            if runs[row, run] > self.worst:
                self.worst = float(runs[row, run])
                self.place = (first + int(row), RUN * int(run))


def tensor_errors(
    one: Assignment, source: QuantizedTensor, made: QuantizedTensor, fold: Fold | None = None
) -> TensorErrors:
    """The errors of one tensor."""
    sums, first = _Sums(), 0
    histogram: tuple[int, ...] = ()
    for w, found in _pairs(source, made, fold):
        if first == 0:
            histogram = _histogram(w, found)
        sums.add(w, found, first)
        first += len(w)
    weights = math.prod(one.shape)
    lost, whole = sums.lost, sums.whole
    length = math.sqrt(whole) * math.sqrt(sums.again)
    return TensorErrors(
        name=one.tensor,
        role=role_of(one.tensor),
        layer=layer_of(one.tensor),
        shape=one.shape,
        source=source.scheme.name,
        scheme=made.scheme.name,
        rule=one.rule,
        nbytes=made.nbytes,
        bits_per_weight=8 * made.nbytes / weights,
        rmse=math.sqrt(lost / weights),
        relative_rmse=math.sqrt(lost / whole) if whole else 0.0,
        sqnr_db=10 * math.log10(whole / lost) if lost and whole else None,
        cosine=sums.both / length if length else None,
        max_error=sums.largest,
        worst_run=sums.place if lost else None,
        histogram=histogram,
    )


def _pairs(
    source: QuantizedTensor, made: QuantizedTensor, fold: Fold | None
) -> Iterator[tuple[F32, F32]]:
    """Rows of both, as many at once as make a chunk."""
    columns = source.shape[-1]
    rows = source.shape[0] if len(source.shape) > 1 else 1
    step = max(CHUNK * rows // math.prod(source.shape), 1)
    whole = len(source.shape) < 2
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        w, found = (_rows(one, start, stop, whole=whole) for one in (source, made))
        if fold is not None:
            part = None if fold.rows is None else fold.rows if whole else fold.rows[start:stop]
            w = Fold(fold.columns, part).applied(w)
        yield w.reshape(-1, columns), found.reshape(-1, columns)


def _rows(tensor: QuantizedTensor, start: int, stop: int, *, whole: bool) -> F32:
    if whole:
        return tensor.dequantize()
    try:
        return tensor.rows(start, stop).dequantize()
    except (SchemeError, UnsupportedError):
        # Rows that share records, or lie behind operators, cannot be taken apart.
        return tensor.dequantize()[start:stop]


def _histogram(w: F32, found: F32) -> tuple[int, ...]:
    error = (found - w).reshape(-1)[:SAMPLE]
    largest = float(np.abs(error).max(initial=0.0))
    if not largest or not math.isfinite(largest):
        return (0,) * BINS
    counts, _ = np.histogram(error / largest, BINS, (-1, 1))
    return tuple(counts.tolist())


def report_data(
    errors: Sequence[TensorErrors], recipe: Recipe, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The report as plain data: the whole, each rule with how many tensors it took, each tensor."""
    taken = [one.rule for one in errors]
    rules = [
        {**rule, "tensors": taken.count(index)}
        for index, rule in enumerate(recipe.to_data()["rules"])
    ]
    return {**facts, "rules": rules, "tensors": [asdict(one) for one in errors]}
