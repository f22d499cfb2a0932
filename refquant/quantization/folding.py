"""Where the scales of AWQ and SmoothQuant go: columns times s, and what makes the input over s.

Queries, keys and values, and likewise gate and up, read a norm's output, so the norm's weights are
divided. What goes into `ffn_down` is a product with the rows of `ffn_up`, so these are divided; AWQ
does so, and SmoothQuant leaves these alone. The output of attention has no such place in models
whose heads share values, and keeps its scales of 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate import awq_scales
from refquant.calibrate.smoothquant import smoothing_scales
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.quantization.inputs import InputMoments
from refquant.recipe import Assignment
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["Fold", "folded", "folded_importance", "folds_of"]

F32 = NDArray[np.float32]

READERS = (
    (("attn_q", "attn_k", "attn_v", "attn_qkv"), "attn_norm"),
    (("ffn_gate", "ffn_up"), "ffn_norm"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """What a tensor's columns are multiplied by, and what its rows (or elements) are divided by.

    `added` is what the model adds to a norm's weights before it uses them.
    """

    columns: F32 | None = None
    rows: F32 | None = None
    added: float = 0.0

    def applied(self, weights: F32) -> F32:  # f32[n, k] or f32[n] -> the same shape
        """The weights with both done."""
        if self.columns is not None:
            weights = weights * self.columns
        if self.rows is not None:
            rows = self.rows if weights.ndim == 1 else self.rows[:, np.newaxis]
            added = np.float32(self.added)
            weights = (weights + added) / rows - added
        return weights


def folds_of(
    checkpoint: Checkpoint,
    assignments: Sequence[Assignment],
    moments: Mapping[str, InputMoments],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Fold]:
    """The folds of every layer whose matrices ask for AWQ or SmoothQuant, by tensor name.

    Matrices that share their input have to ask for the same; those that do not are left alone.
    """
    asked = {one.tensor: one for one in assignments if one.algorithm in ("awq", "smoothquant")}
    layers = sorted({name.rsplit(".", 2)[0] for name in asked})
    folds: dict[str, Fold] = {}
    for number, layer in enumerate(layers):
        for parts, norm in READERS:
            names = [f"{layer}.{part}.weight" for part in parts]
            names = [name for name in names if name in checkpoint.tensors]
            wishes = {_wish(asked.get(name)) for name in names}
            if len(wishes) == 1 and None not in wishes:
                scales = _scales(checkpoint, [asked[name] for name in names], moments)
                folds |= {name: Fold(columns=scales) for name in names}
                folds |= _norm(checkpoint, f"{layer}.{norm}", scales)
        _fold_down(checkpoint, asked, moments, layer, folds)
        if progress is not None:
            progress(number + 1, len(layers))
    return folds


class _Folded(Mapping[str, QuantizedTensor]):
    """Tensors with their folds done, each when it is asked for."""

    def __init__(self, tensors: Mapping[str, QuantizedTensor], folds: Mapping[str, Fold]) -> None:
        self._tensors, self._folds = tensors, folds

    def __getitem__(self, name: str) -> QuantizedTensor:
        tensor = self._tensors[name]
        if name not in self._folds:
            return tensor
        return quantize(self._folds[name].applied(tensor.dequantize()), "float/f32")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def folded(checkpoint: Checkpoint, folds: Mapping[str, Fold]) -> Checkpoint:
    """The same model with the folds done, its weights not quantized yet."""
    if not folds:
        return checkpoint
    return replace(checkpoint, tensors=_Folded(checkpoint.tensors, folds))


def folded_importance(importance: Mapping[str, F32], folds: Mapping[str, Fold]) -> dict[str, F32]:
    """The mean squares of inputs once these are divided by the scales of the weights' columns."""
    found = dict(importance)
    for name, fold in folds.items():
        if fold.columns is not None and name in found:
            found[name] = np.asarray(found[name] / np.square(fold.columns), np.float32)
    return found


def _wish(assignment: Assignment | None) -> tuple[object, ...] | None:
    """What has to be the same of matrices that share scales; None where none are asked for."""
    if assignment is None:
        return None
    return (assignment.algorithm, *sorted(assignment.options.items()))


def _scales(
    checkpoint: Checkpoint, asked: Sequence[Assignment], moments: Mapping[str, InputMoments]
) -> F32:
    if asked[0].algorithm == "awq":
        return _searched(checkpoint, asked, moments)
    weights = [checkpoint.tensors[one.tensor].dequantize() for one in asked]
    return smoothing_scales(weights, moments[asked[0].tensor].largest, **asked[0].options)


def _searched(
    checkpoint: Checkpoint, asked: Sequence[Assignment], moments: Mapping[str, InputMoments]
) -> F32:
    found = moments[asked[0].tensor]
    if found.products is None:
        raise UnsupportedError("AWQ needs the products of inputs, not an importance matrix alone")
    weights = [checkpoint.tensors[one.tensor].dequantize() for one in asked]
    schemes = [find_scheme(one.target_scheme) for one in asked]
    return awq_scales(weights, found.magnitudes / found.rows, found.products, schemes)


def _norm(checkpoint: Checkpoint, name: str, scales: F32) -> dict[str, Fold]:
    """The folds of a norm's weights, and of its shift where it has one."""
    spelled = [f"{name}.weight", f"{name}.bias"]
    if spelled[0] not in checkpoint.tensors:
        raise UnsupportedError(f"scales go into {spelled[0]}, and the model has none")
    fields = {} if checkpoint.architecture is None else checkpoint.architecture.fields
    # Gemma multiplies by 1 + weight.
    added = {spelled[0]: 1.0 if fields.get("norms_less_one") else 0.0}
    return {
        one: Fold(rows=scales, added=added.get(one, 0.0))
        for one in spelled
        if one in checkpoint.tensors
    }


def _fold_down(
    checkpoint: Checkpoint,
    asked: Mapping[str, Assignment],
    moments: Mapping[str, InputMoments],
    layer: str,
    folds: dict[str, Fold],
) -> None:
    down, up, gate = (f"{layer}.ffn_{part}.weight" for part in ("down", "up", "gate"))
    # Without a gate an activation stands between up and down, and no scale passes through it.
    if any(name not in asked or asked[name].algorithm != "awq" for name in (down, up)):
        return
    if gate not in checkpoint.tensors:
        return
    scales = _searched(checkpoint, [asked[down]], moments)
    folds[down] = Fold(columns=scales)
    folds[up] = Fold(columns=folds[up].columns if up in folds else None, rows=scales)
    bias = f"{layer}.ffn_up.bias"
    if bias in checkpoint.tensors:
        folds[bias] = Fold(rows=scales)
