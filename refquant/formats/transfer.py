"""Tensors on their way into another format: what becomes of each, and what that loses.

A tensor is `exact` if its bytes are the same there, `repacked` if its bytes differ and every weight
has the same value, and `requantized` if a weight changes. The loss is the relative root mean square
error, sqrt(sum (a - b)**2 / sum a**2).
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import SchemeError
from refquant.formats.carry import carried, same_values
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["Moved", "Turn", "Verdict", "first_that_keeps", "moved", "with_rows"]

Verdict = Literal["exact", "repacked", "requantized"]
Floats = NDArray[np.float32]

SAMPLE_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """What the other format does to a tensor's weights before it stores them.

    Row i there is row `rows[i]` here, and `added` is added to every weight.
    """

    rows: NDArray[np.intp] | None = None
    added: float = 0.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A tensor in its new form, what became of it, and the scheme that it had."""

    tensor: QuantizedTensor
    verdict: Verdict
    loss: float
    source: str


def moved(tensor: QuantizedTensor, target: Scheme, turn: Turn | None = None) -> Moved:
    """The tensor under another scheme; codes are carried where the layout is the same."""
    turned = turn or Turn()
    same = not tensor.scheme.operators and tensor.scheme.digest == target.digest
    same = same and tensor.axis == len(tensor.shape) - 1 and turned.added == 0.0
    if same and turned.rows is None:
        return Moved(tensor, "exact", 0.0, tensor.scheme.name)
    ordered = tensor if turned.rows is None else with_rows(tensor, turned.rows)
    if turned.added == 0.0 and ordered is not None:
        kept = ordered if same else carried(ordered, target)
        if kept is not None:
            return Moved(kept, "repacked", 0.0, tensor.scheme.name)
    before = tensor.dequantize()
    if turned.rows is not None:
        before = before[turned.rows]
    result = quantize(before + np.float32(turned.added) if turned.added else before, target)
    values = result.dequantize()
    after = values.astype(np.float64) - turned.added
    keeps = bool(np.array_equal(after, before)) if turned.added else same_values(before, values)
    if keeps:
        return Moved(result, "repacked", 0.0, tensor.scheme.name)
    return Moved(result, "requantized", _loss(before, after), tensor.scheme.name)


def with_rows(tensor: QuantizedTensor, rows: NDArray[np.intp]) -> QuantizedTensor | None:
    """The rows of a tensor in another order, its codes untouched; None if rows share records."""
    if tensor.scheme.operators or len(tensor.shape) < 1:
        return None
    planes = {}
    for name, plane in tensor.layout.planes.items():
        stored = tensor.planes[name]
        if plane.order is not None or stored.shape[0] != tensor.shape[0]:
            return None
        planes[name] = np.ascontiguousarray(stored[rows]).reshape(-1)
    return QuantizedTensor.from_planes(tensor.scheme, tensor.shape, planes, tensor.axis)


def first_that_keeps(tensor: QuantizedTensor, candidates: Sequence[str]) -> Scheme | None:
    """The first of these schemes that keeps the value of every weight of the first rows."""
    part = tensor
    if not tensor.scheme.operators:
        with suppress(SchemeError):
            part = tensor.rows(0, min(SAMPLE_ROWS, tensor.shape[0]))
    sample = part.dequantize()
    for name in candidates:
        found = find_scheme(name)
        with suppress(SchemeError):
            again = carried(part, found) or quantize(sample, found)
            if same_values(sample, again.dequantize()):
                return found
    return None


def _loss(before: Floats, after: NDArray[np.float64]) -> float:
    """sqrt(sum (a - b)**2 / sum a**2); NaN where a weight is none."""
    exact = before.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gone = float(np.sum(np.square(after - exact)))  # exact: a measure for people, in float64
        whole = float(np.sum(np.square(exact)))  # exact: the same
    if not math.isfinite(gone) or not math.isfinite(whole):
        return math.nan
    return math.sqrt(gone / whole) if whole else math.inf
