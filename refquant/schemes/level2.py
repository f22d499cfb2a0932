"""The operators of level 2: flat groups, interleaved parts, words in rows, gathered groups.

Each says how planes that a checkpoint stores become planes of an ordinary layout. `Flattened`
is a view of the weights, `Interleaved` another; `WordRows` moves words of a record apart;
`Gathered` lets a stored tensor say which group each input belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout import Layout, Plane, field_codes, pack_codes
from refquant.layout.layout import aligned
from refquant.layout.operators import Below, Operator

__all__ = ["Flattened", "Gathered", "Interleaved", "WordRows"]

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
class Interleaved(Operator):
    """The weights as a matrix whose rows, cut in `parts` equal parts, share bytes.

    The matrix has `group` columns (`axis` 1) or `group` rows (`axis` 0) and is filled with rows of
    zeros to a multiple of `parts`. Weight (k * step + r, c), where step is the rows of a part, is
    (r, c, k) below. Records of a plane after the last one that covers a weight are left out.
    """

    group: int
    axis: int
    parts: int
    title = "parts of a matrix of groups side by side"

    def fitting_shape(self, rows: int) -> Shape:
        """Rows for two steps and, where parts are filled up, some that are missing."""
        rows = 13 if self.parts == 10 else 2 * self.parts
        return (rows, self.group) if self.axis == 1 else (self.group, 5)

    def why_not(self, shape: Shape, axis: int) -> str | None:
        """Groups are cut from the weights in C order, and their parts must be equal."""
        reason = super().why_not(shape, axis)
        if reason is None and prod(shape) % self.group:
            reason = f"{prod(shape)} weights, expected a multiple of {self.group}"
        rows = self.matrix(shape)[0] if reason is None else 0
        # Words of ten are filled up; bytes of 2, 4 or 8 are not.
        if reason is None and self.parts != 10 and rows % self.parts:
            reason = f"{rows} rows of groups, expected a multiple of {self.parts}"
        return reason

    def matrix(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns of the matrix that is cut into parts."""
        other, rest = divmod(prod(shape), self.group)
        if rest:
            raise SchemeError(f"{prod(shape)} weights are no groups of {self.group}")
        return (other, self.group) if self.axis == 1 else (self.group, other)

    def inner_shape(self, shape: Shape) -> Shape:
        """Rows of a part, columns, parts."""
        rows, columns = self.matrix(shape)
        return (-(-rows // self.parts), columns, self.parts)

    def stored(self, layout: Layout, shape: Shape, below: Mapping[str, Shape]) -> dict[str, Shape]:
        """Planes whose records do not lie across the parts end with the last row."""
        return {
            name: size
            if self._lies_across(layout, name)
            else (self._records(layout, name, shape), size[-1])
            for name, size in below.items()
        }

    def _lies_across(self, layout: Layout, plane: str) -> bool:
        """Whether each record of a plane has weights of all parts, so that none is left out."""
        return layout.planes[plane].block[-1] in (0, self.parts)

    def _records(self, layout: Layout, plane: str, shape: Shape) -> int:
        """One more than the number of the last record that covers a weight."""
        inner, (rows, columns) = self.inner_shape(shape), self.matrix(shape)
        declared, grid = layout.planes[plane], layout.grid(plane, inner)
        blocks, step = aligned(declared.block, inner), inner[0]
        last = 0
        for part in range(-(-rows // step)):
            weight = min(step, rows - part * step) - 1, columns - 1, part
            place = [at // block for at, block in zip(weight, blocks, strict=True)]
            fixed = 3 - len(declared.order or ())
            axes = (*range(fixed), *(fixed + axis for axis in declared.order or ()))
            number = 0
            for extent, axis in zip(grid, axes, strict=True):
                number = number * extent + place[axis]
            last = max(last, number)
        return last + 1

    def expand(
        self, layout: Layout, planes: Mapping[str, Bytes], shape: Shape
    ) -> tuple[Layout, dict[str, Bytes]]:
        """Records of zeros for those that are left out."""
        inner, full = self.inner_shape(shape), dict(planes)
        for name in planes:
            if self._lies_across(layout, name):
                continue
            grid = (*layout.grid(name, inner), layout.planes[name].bytes)
            records = np.zeros((prod(grid[:-1]), grid[-1]), np.uint8)
            records[: len(planes[name])] = planes[name]
            full[name] = records.reshape(grid)
        return layout, full

    def values(self, inner: F32, shape: Shape) -> F32:
        """Parts below each other again, without the filled rows."""
        rows, columns = self.matrix(shape)
        matrix = inner.transpose(2, 0, 1).reshape(-1, columns)[:rows]
        return np.ascontiguousarray(matrix).reshape(shape)

    def inner_values(self, values: F32, shape: Shape) -> F32:
        """Parts side by side, filled rows included."""
        return self._side_by_side(values.reshape(self.matrix(shape)))

    def _side_by_side(self, matrix: NDArray[Any]) -> NDArray[Any]:
        rows, columns = matrix.shape
        step = -(-rows // self.parts)
        filled = np.zeros((step * self.parts, columns), matrix.dtype)
        filled[:rows] = matrix
        split = filled.reshape(self.parts, step, columns)
        return np.ascontiguousarray(split.transpose(1, 2, 0))

    def encode(self, below: Below, x: F32, importance: F32 | None) -> dict[str, Bytes]:
        """Codes of the groups in rows, packed as parts; rows that fill up have code 0."""
        if importance is not None:
            raise SchemeError("its encoder makes no use of importance; leave it out")
        matrix = np.ascontiguousarray(x).reshape(self.matrix(x.shape))
        found = below.codes(np.ascontiguousarray(matrix if self.axis == 1 else matrix.T))
        codes = found["q"] if self.axis == 1 else found["q"].T
        inner = self.inner_shape(x.shape)
        layout, planes = below.layout, {}
        for name, field in layout.fields.items():
            if field.plane == "codes":
                stored = np.zeros(
                    (*layout.grid("codes", inner), layout.planes["codes"].bytes), "u1"
                )
                pack_codes(layout, name, self._side_by_side(codes), stored, inner)
                planes["codes"] = stored
            else:
                size = layout.planes[field.plane].bytes
                raw = np.ascontiguousarray(found[name]).astype(f"<u{size}")
                planes[field.plane] = raw.view(np.uint8).reshape(-1, size)
        return planes


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
