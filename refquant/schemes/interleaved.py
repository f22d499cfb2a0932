"""The operator of level 2 that lets distant parts of a tensor share bytes, as HQQ and quanto do."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout import Layout, pack_codes
from refquant.layout.layout import aligned
from refquant.layout.operators import Below, Operator

__all__ = ["Interleaved"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
Shape = tuple[int, ...]


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
