"""Operators of level 2: flat groups, words in rows, gathered groups; another in `interleaved.py`.

Each says how planes that a checkpoint stores become planes of an ordinary layout. `Flattened`
is a view of the weights, `Interleaved` another; `WordRows` moves words of a record apart;
`Gathered` lets a stored tensor say which group each input belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout import Layout, Plane, field_codes, pack_codes
from refquant.layout.operators import Below, Operator

__all__ = ["Flattened", "Gathered", "WordRows"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
Shape = tuple[int, ...]


def _last_axis(plane: Plane, rank: int) -> int:
    """Where in a plane's grid, as it is stored, the tensor's last axis is."""
    if plane.order is None:
        return rank - 1
    return rank - len(plane.order) + plane.order.index(len(plane.order) - 1)


@dataclass(frozen=True)
class Flattened(Operator):
    """The layout speaks of all weights in C order as one axis, so that groups cross rows."""

    unit: int
    title = "weights in C order as one axis"

    def fitting_shape(self, rows: int) -> Shape:
        """299 units in rows that are no whole units."""
        del rows
        return (self.unit // 2, 598)

    def why_not(self, shape: Shape, axis: int) -> str | None:
        """The weights together, not each row, are whole units."""
        reason = super().why_not(shape, axis)
        if reason is None and prod(shape) % self.unit:
            reason = f"{prod(shape)} weights, expected a multiple of {self.unit}"
        return reason

    def inner_shape(self, shape: Shape) -> Shape:
        """One axis."""
        return (prod(shape),)

    def values(self, inner: F32, shape: Shape) -> F32:
        """The rows of the tensor."""
        return inner.reshape(shape)

    def inner_values(self, values: F32, shape: Shape) -> F32:
        """All weights in one axis."""
        return values.reshape(self.inner_shape(shape))

    def encode(self, below: Below, x: F32, importance: F32 | None) -> dict[str, Bytes]:
        """The planes of the flat weights."""
        return below.planes(np.ascontiguousarray(x).reshape(-1), importance)


@dataclass(frozen=True)
class WordRows(Operator):
    """Records of `words` 32-bit words in one plane are stored a word a row, rows apart."""

    plane: str
    words: int
    title = "words of a record in rows of their own"

    def stored(self, layout: Layout, shape: Shape, below: Mapping[str, Shape]) -> dict[str, Shape]:
        """Words times as many rows of records of one word."""
        del layout, shape
        if self.plane not in below:
            return dict(below)
        rows, *columns, size = below[self.plane]
        return {**below, self.plane: (rows * self.words, *columns, size // self.words)}

    def expand(
        self, layout: Layout, planes: Mapping[str, Bytes], shape: Shape
    ) -> tuple[Layout, dict[str, Bytes]]:
        """The words of each record together."""
        del shape
        rows, *columns, size = planes[self.plane].shape
        apart = planes[self.plane].reshape(rows // self.words, self.words, prod(columns), size)
        joined = np.ascontiguousarray(apart.transpose(0, 2, 1, 3))
        return layout, {**planes, self.plane: joined.reshape(-1, *columns, size * self.words)}

    def encode(self, below: Below, x: F32, importance: F32 | None) -> dict[str, Bytes]:
        """The planes below with the words of each record apart."""
        planes = below.planes(x, importance)
        rows, columns, size = planes[self.plane].shape
        joined = planes[self.plane].reshape(rows, columns, self.words, size // self.words)
        apart = np.ascontiguousarray(joined.transpose(0, 2, 1, 3))
        return {**planes, self.plane: apart.reshape(rows * self.words, columns, -1)}


@dataclass(frozen=True)
class Gathered(Operator):
    """Each input names its group: plane `index` holds an int32 for each place of the last axis.

    `parameters` are the planes with a row for each group of `group` inputs; `codes` is the field
    whose codes stay where the inputs are.
    """

    index: str
    parameters: tuple[str, ...]
    codes: str
    group: int
    title = "the group of each input named by an index"
    weighted = True

    def fitting_shape(self, rows: int) -> Shape:
        """Four groups of inputs, and outputs for whole words of any width."""
        del rows
        return (32, 4 * (self.group or 8))

    def why_not(self, shape: Shape, axis: int) -> str | None:
        """Groups are whole."""
        reason = super().why_not(shape, axis)
        if reason is None and self.group and shape[-1] % self.group:
            reason = f"axis {axis} has {shape[-1]} weights, expected a multiple of {self.group}"
        return reason

    def stored(self, layout: Layout, shape: Shape, below: Mapping[str, Shape]) -> dict[str, Shape]:
        """The planes of groups in order, and the index."""
        del layout
        return {**below, self.index: (shape[-1], 4)}

    def expand(
        self, layout: Layout, planes: Mapping[str, Bytes], shape: Shape
    ) -> tuple[Layout, dict[str, Bytes]]:
        """Parameters for each input, taken from the groups that the index names."""
        found = dict(planes)
        index = np.ascontiguousarray(found.pop(self.index)).view("<i4").reshape(-1)
        axes = {name: _last_axis(layout.planes[name], len(shape)) for name in self.parameters}
        groups = min(planes[name].shape[axis] for name, axis in axes.items())
        if index.size and not 0 <= index.min() <= index.max() < groups:
            wrong = int(np.flatnonzero((index < 0) | (index >= groups))[0])
            raise SchemeError(f"input {wrong} names group {index[wrong]} of {groups}")
        for name, axis in axes.items():
            found[name] = np.take(found[name], index, axis)
        return self._for_each_input(layout), found

    def _for_each_input(self, layout: Layout) -> Layout:
        """The layout with groups of one input."""
        planes = {
            name: replace(p, block=(*p.block[:-1], 1)) if name in self.parameters else p
            for name, p in layout.planes.items()
        }
        fields = {
            name: replace(f, over=(*f.over[:-1], 1)) if f.plane in self.parameters else f
            for name, f in layout.fields.items()
        }
        return Layout(planes, fields, layout.value, layout.tables)

    def encode(self, below: Below, x: F32, importance: F32 | None) -> dict[str, Bytes]:
        """Groups of inputs by falling importance, the first of equals first; else in order."""
        inputs = x.shape[-1]
        order = np.arange(inputs)
        if importance is not None:
            self._check(importance, inputs)
            order = np.argsort(-importance, kind="stable")
        planes, layout = below.planes(np.ascontiguousarray(x[..., order])), below.layout
        plane = layout.fields[self.codes].plane
        codes = field_codes(layout, self.codes, planes[plane], x.shape)
        back = np.empty_like(codes)
        back[..., order] = codes
        planes[plane] = np.zeros_like(planes[plane])
        pack_codes(layout, self.codes, back, planes[plane], x.shape)
        index = np.empty(inputs, "<i4")
        index[order] = np.arange(inputs) // (self.group or inputs)
        return {**planes, self.index: index.view(np.uint8).reshape(-1, 4)}

    def _check(self, importance: F32, inputs: int) -> None:
        if importance.shape != (inputs,) or not np.isfinite(importance).all():
            raise SchemeError(
                f"importance has shape {list(importance.shape)}, expected [{inputs}] finite numbers"
            )
