"""Where the scales of columns go that AWQ multiplies weights by: into what makes the input.

Queries, keys and values, and likewise gate and up, read a norm's output, so the norm's weights are
divided. What goes into `ffn_down` is a product with the rows of `ffn_up`, so these are divided. The
output of attention has no such place in models whose heads share values, and keeps its scales of 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate import awq_scales
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.quantization.inputs import InputMoments
from refquant.recipe import Assignment
from refquant.schemes import scheme as find_scheme

__all__ = ["Fold", "awq_folds"]

F32 = NDArray[np.float32]

READERS = (
    (("attn_q", "attn_k", "attn_v", "attn_qkv"), "attn_norm"),
    (("ffn_gate", "ffn_up"), "ffn_norm"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """What a tensor's columns are multiplied by, and what its rows (or elements) are divided by."""

    columns: F32 | None = None
    rows: F32 | None = None

    def applied(self, weights: F32) -> F32:  # f32[n, k] or f32[n] -> the same shape
        """The weights with both done."""
        if self.columns is not None:
            weights = weights * self.columns
        if self.rows is not None:
            weights = weights / (self.rows if weights.ndim == 1 else self.rows[:, np.newaxis])
        return weights


def awq_folds(
    checkpoint: Checkpoint,
    assignments: Sequence[Assignment],
    moments: Mapping[str, InputMoments],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Fold]:
    """The folds of every layer whose matrices ask for AWQ, by tensor name."""
    asked = {one.tensor: one for one in assignments if one.algorithm == "awq"}
    layers = sorted({name.rsplit(".", 2)[0] for name in asked})
    folds: dict[str, Fold] = {}
    for number, layer in enumerate(layers):
        for parts, norm in READERS:
            names = [f"{layer}.{part}.weight" for part in parts]
            names = [name for name in names if name in checkpoint.tensors]
            if names and all(name in asked for name in names):
                scales = _searched(checkpoint, [asked[name] for name in names], moments)
                folds |= {name: Fold(columns=scales) for name in names}
                folds |= _norm(checkpoint, f"{layer}.{norm}", scales)
        _fold_down(checkpoint, asked, moments, layer, folds)
        if progress is not None:
            progress(number + 1, len(layers))
    return folds


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
        raise UnsupportedError(f"AWQ needs {spelled[0]} to divide, and the model has none")
    return {one: Fold(rows=scales) for one in spelled if one in checkpoint.tensors}


def _fold_down(
    checkpoint: Checkpoint,
    asked: Mapping[str, Assignment],
    moments: Mapping[str, InputMoments],
    layer: str,
    folds: dict[str, Fold],
) -> None:
    down, up, gate = (f"{layer}.ffn_{part}.weight" for part in ("down", "up", "gate"))
    # Without a gate an activation stands between up and down, and no scale passes through it.
    if down not in asked or up not in asked or gate not in checkpoint.tensors:
        return
    scales = _searched(checkpoint, [asked[down]], moments)
    folds[down] = Fold(columns=scales)
    folds[up] = Fold(columns=folds[up].columns if up in folds else None, rows=scales)
