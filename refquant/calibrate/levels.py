"""The numbers that a quantized tensor can hold at each place, once its scales are chosen.

Algorithms that choose codes themselves (GPTQ) need them. They follow from the layout: set every
code to c, decode, and there is the value of code c under each scale. So such an algorithm works
for every scheme that has one code a weight, whatever its formula or table.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout import Digits, Layout, Minifloat, Signed, Unsigned, field_codes, pack_codes
from refquant.tensor import QuantizedTensor

__all__ = ["Levels", "code_bits", "code_field", "with_codes"]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

FEW = 32
"""Codes are tried one by one up to this many; beyond it they have to be evenly spaced."""


def code_field(layout: Layout) -> str:
    """The name of the one field that holds a code for each weight.

    Raises `SchemeError` where there is none, or more than one.
    """
    found = [name for name, field in layout.fields.items() if set(field.over) <= {1}]
    if len(found) != 1:
        raise SchemeError(f"{len(found)} fields hold a code for each weight, expected one")
    return found[0]


def code_bits(layout: Layout) -> int:
    """How wide the codes are; those of a few values that fill no bits count as the next width."""
    element = layout.fields[code_field(layout)].element
    return (element.base - 1).bit_length() if isinstance(element, Digits) else element.bits


def with_codes(tensor: QuantizedTensor, codes: Codes) -> QuantizedTensor:
    """The same tensor, scales and all, with other codes: `code[*shape]`."""
    layout, shape = tensor.layout, tensor.shape
    name = code_field(layout)
    plane = layout.fields[name].plane
    packed = np.zeros_like(tensor.planes[plane])
    for other, field in layout.fields.items():
        if field.plane == plane:
            kept = (
                codes if other == name else field_codes(layout, other, tensor.planes[plane], shape)
            )
            pack_codes(layout, other, kept, packed, shape)
    planes: Mapping[str, NDArray[np.uint8]] = {**tensor.planes, plane: packed}
    return QuantizedTensor(tensor.scheme, shape, planes, tensor.axis)


class Levels:
    """For every weight of a tensor, the code whose value is nearest to any other number."""

    def __init__(self, tensor: QuantizedTensor) -> None:
        self.tensor = tensor
        element = tensor.layout.fields[code_field(tensor.layout)].element
        if isinstance(element, Signed):
            first, count = -(1 << (element.bits - 1)), 1 << element.bits
        elif isinstance(element, Unsigned | Minifloat):
            first, count = 0, 1 << element.bits
        elif isinstance(element, Digits):
            first, count = 0, element.base
        self.codes = np.arange(first, first + count)
        if count <= FEW:
            self.values = np.stack([self._of(code) for code in self.codes])  # [codes, *shape]
        elif "lut" in str(tensor.layout.value) or isinstance(element, Minifloat):
            raise SchemeError(
                f"{count} unevenly spaced codes: this algorithm takes at most {FEW}",
                scheme=tensor.scheme.name,
            )
        else:
            self.values = np.stack([self._of(self.codes[0]), self._of(self.codes[-1])])
        self._columns: F32 | None = None

    def _column(self, column: int) -> F32:  # -> f32[codes, n]
        """The values of one column of a matrix; all are turned once, so that they lie together."""
        if self._columns is None:
            self._columns = np.ascontiguousarray(self.values.transpose(2, 0, 1))
        found: F32 = self._columns[column]
        return found

    def _of(self, code: np.integer) -> F32:  # -> f32[*shape]
        dtype = np.int8 if self.codes[0] < 0 else np.uint8
        return with_codes(self.tensor, np.full(self.tensor.shape, code, dtype)).dequantize()

    def nearest(self, x: F32, column: int) -> tuple[Codes, F32]:  # f32[n] -> code[n], f32[n]
        """Codes and values nearest to x in one column of a matrix; the lower code on a tie."""
        values = self._column(column)
        if len(values) == len(self.codes):
            with np.errstate(invalid="ignore"):
                index = np.abs(values - x).argmin(axis=0)
            return self.codes[index], np.take_along_axis(values, index[np.newaxis], 0)[0]
        low, high = values
        step = (high - low) / np.float32(len(self.codes) - 1)
        safe = np.where(step == 0, np.float32(1), step)
        index = np.clip(np.rint((x - low) / safe), 0, len(self.codes) - 1).astype(np.int64)
        index[step == 0] = 0
        return self.codes[index], low + index.astype(np.float32) * step

    def nearest_codes(self, x: F32) -> Codes:  # f32[*shape] -> code[*shape]
        """Codes nearest to every number of x; the lower code on a tie."""
        if len(self.values) != len(self.codes):
            low, high = self.values
            step = (high - low) / np.float32(len(self.codes) - 1)
            safe = np.where(step == 0, np.float32(1), step)
            index = np.clip(np.rint((x - low) / safe), 0, len(self.codes) - 1)
            return self.codes[np.where(step == 0, 0, index).astype(np.int64)]
        best = np.full(x.shape, self.codes[0], np.int64)
        least = np.full(x.shape, np.inf, np.float32)
        for code, values in zip(self.codes, self.values, strict=True):
            error = np.abs(values - x)
            better = error < least
            best[better], least[better] = code, error[better]
        return best
