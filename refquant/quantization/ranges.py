"""The ranges of what each matrix reads and writes, over the windows of a text.

The model reads every window in binary32, as it does for `inputs.py`. A window is one sample of
`refquant.calibrate.activations`: what a matrix reads of it, and what it writes with its bias added.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.static import STATIC, StaticParameters, static_parameters
from refquant.calibrate.activations import ActivationRange, Observer, RangeRule
from refquant.errors import UnsupportedError, UsageError
from refquant.quantization.watched import watched
from refquant.recipe import Assignment
from refquant.recipe.assignment import subject
from refquant.runtime import Model

__all__ = ["ActivationRanges", "calibrated", "collect_ranges", "needs_ranges"]

F32 = NDArray[np.float32]

ActivationRanges = Mapping[str, tuple[ActivationRange, ActivationRange]]
"""By matrix: the range of what it reads, and of what it writes."""


def needs_ranges(assignments: Iterable[Assignment]) -> tuple[str, ...]:
    """The matrices that are multiplied under a static contract."""
    return tuple(
        one.tensor
        for one in assignments
        if one.rule is not None and one.activation in STATIC and len(one.shape) > 1
    )


def calibrated(
    assignments: Iterable[Assignment], ranges: ActivationRanges
) -> dict[str, StaticParameters]:
    """The parameters of each matrix under a static contract whose ranges are known."""
    found: dict[str, StaticParameters] = {}
    for one in assignments:
        if one.activation in STATIC and one.tensor in ranges:
            read, written = ((side.minimum, side.maximum) for side in ranges[one.tensor])
            found[one.tensor] = static_parameters(one.activation, read, written)
    return found


def collect_ranges(
    model: Model,
    batches: Sequence[Sequence[int]],
    rule: RangeRule | None = None,
    *,
    names: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ActivationRanges:
    """The ranges of the matrices called `names`, or of all, over batches of token ids.

    Raises `UsageError` where there is no batch, `UnsupportedError` for a model whose weights stay
    packed, that fills in masks, or whose networks are experts.
    """
    if model.weight_mode != "float32":
        raise UnsupportedError("ranges are collected from decoders with weights in float32")
    if not batches:
        raise UsageError("ranges of activations: no text was given")
    observers = _Observers(model, rule or RangeRule(), names)
    reader = watched(model, observers.seen)
    for index, ids in enumerate(batches):
        # Logits are only computed for all tokens where the head's range is asked for.
        read = reader.forward if observers.wants_head else reader.next_logits
        read(ids, reader.new_cache(len(ids)))
        if progress is not None:
            progress(index + 1, len(batches))
    return observers.ranges()


class _Observers:
    """Two observers for each matrix; those that are stacked share what they read."""

    def __init__(self, model: Model, rule: RangeRule, names: Collection[str] | None) -> None:
        tensors = model.checkpoint.tensors
        self._heights = {name: subject(tensors, name).shape[0] for name in tensors}
        self._rule, self._names = rule, names
        self._read: dict[tuple[str, ...], Observer] = {}
        self._written: dict[str, tuple[tuple[str, ...], Observer]] = {}

    @property
    def wants_head(self) -> bool:
        return self._names is None or any(not name.startswith("blk.") for name in self._names)

    def seen(self, names: tuple[str, ...], x: F32, y: F32) -> None:
        parts = self._parts(names, y.shape[1])
        asked = [name for name in parts if self._names is None or name in self._names]
        if not asked:
            return
        self._read.setdefault(names, self._rule.observer()).add(x)
        for name in asked:
            entry = self._written.setdefault(name, (names, self._rule.observer()))
            entry[1].add(y[:, parts[name]])

    def _parts(self, names: tuple[str, ...], height: int) -> dict[str, slice]:
        """The columns of the output that belong to each tensor."""
        parts, start = {}, 0
        for name in names:
            if name in self._heights and start < height:
                parts[name] = slice(start, start + self._heights[name])
                start += self._heights[name]
        return parts

    def ranges(self) -> ActivationRanges:
        return {
            name: (self._read[names].range(), written.range())
            for name, (names, written) in self._written.items()
        }
