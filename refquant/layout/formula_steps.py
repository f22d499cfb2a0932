"""The steps of a formula: numbers for the codes of each field, then its operators.

Every node is computed where its operands have as many numbers: a scale times a sub-scale once for
all weights that share it. What has a number for each weight is written to the tile's values.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout.declare import Minifloat
from refquant.layout.expression import Expression
from refquant.layout.layout import Layout, code_bits
from refquant.layout.records import Codes, is_integer
from refquant.layout.shortcuts import (
    PAIRED_BITS,
    MovedBits,
    code_table,
    move,
    moved_bits,
    pair_table,
    take_pairs,
)
from refquant.layout.steps import VALUES, Operand, Steps, Values
from refquant.layout.values import BFLOAT16, FLOAT32, OPERATIONS, small_offset

__all__ = ["Formula"]

F32 = NDArray[np.float32]

SHORT = 32
"""Up to so many weights, repeating their scale costs less than an inner loop for each run."""


class Formula:
    """Adds the steps of `layout`'s formula; `codes` are the fields' arrays, cut to broadcast."""

    def __init__(
        self, layout: Layout, codes: Mapping[str, Codes], shape: tuple[int, ...], steps: Steps
    ) -> None:
        self.layout, self.codes, self.shape, self.steps = layout, codes, shape, steps

    def add(self, value: Expression) -> None:
        """The steps that leave the numbers of `value` in the tile's values."""
        found = self._number(value, VALUES)
        if found is not VALUES:
            self.steps.add(np.copyto, VALUES, found)

    def _number(self, value: Expression, free: Values | None) -> Operand:
        """Where the numbers of a sub-formula will be: in `free` if it has as many."""
        if isinstance(value, float):
            return np.float32(value)
        if isinstance(value, str):
            return self._leaf(value, free)
        if value[0] == "lut":
            return self._looked_up(str(value[1]), str(value[2]), free)
        if (offset := small_offset(self.layout, value)) is not None:
            codes = self.codes[str(value[1])]
            moved = np.empty(codes.shape, np.int8)
            self.steps.add(np.subtract, codes.view(np.int8), offset, moved)
            return self._cast(moved, free)
        shared = free if self._shape(value[1]) == self.shape else None
        left = self._number(value[1], shared)
        right = self._number(value[2], None if shared else free)
        out = self._room(self._shape(value), free)
        operation = OPERATIONS[str(value[0])]
        if out is VALUES and self._is_short(left):
            self.steps.add(_with_left_repeated, operation, left, right, out)
        elif out is VALUES and self._is_short(right):
            self.steps.add(_with_right_repeated, operation, left, right, out)
        else:
            self.steps.add(operation, left, right, out)
        return out

    def _is_short(self, operand: Operand) -> bool:
        """Whether an operand has one number for each short run of weights."""
        if not isinstance(operand, np.ndarray) or not 1 < self.shape[-1] <= SHORT:
            return False
        return operand.shape == (*self.shape[:-1], 1)

    def _shape(self, value: Expression) -> tuple[int, ...]:
        """Shape of a sub-formula's numbers."""
        if isinstance(value, str):
            return self.codes[value].shape
        if isinstance(value, float):
            return ()
        operands = value[2:] if value[0] == "lut" else value[1:]
        return np.broadcast_shapes(*map(self._shape, operands))

    def _room(self, shape: tuple[int, ...], free: Values | None) -> F32 | Values:
        return free if free is not None and shape == self.shape else np.empty(shape, np.float32)

    def _cast(self, codes: Codes, free: Values | None) -> Operand:
        out = self._room(codes.shape, free)
        self.steps.add(np.copyto, out, codes)
        return out

    def _leaf(self, name: str, free: Values | None) -> Operand:
        codes, element = self.codes[name], self.layout.fields[name].element
        if is_integer(element):
            return self._cast(codes, free)
        if element == FLOAT32:
            return codes.view(np.float32)
        if element == BFLOAT16:
            words = np.empty(codes.shape, np.uint32)
            self.steps.add(np.copyto, words, codes)
            self.steps.add(np.left_shift, words, np.uint32(16), words)
            return words.view(np.float32)
        if not isinstance(element, Minifloat):
            raise SchemeError(f"{element} has no value")
        return self._small_float(codes, element, free)

    def _small_float(self, codes: Codes, element: Minifloat, free: Values | None) -> Operand:
        moved = moved_bits(element)
        if moved is None or codes.shape != self.shape or element.bits <= PAIRED_BITS:
            return self._taken(code_table(element), codes, element.bits, free)
        out = self._room(codes.shape, free)
        self.steps.add(move, codes, moved, out)
        if moved.odd <= moved.low:
            self.steps.add(_mend, codes, moved, code_table(element), out)
        return out

    def _looked_up(self, name: str, index: str, free: Values | None) -> Operand:
        element = self.layout.fields[index].element
        return self._taken(self.layout.tables[name], self.codes[index], code_bits(element), free)

    def _taken(self, table: F32, codes: Codes, bits: int, free: Values | None) -> Operand:
        """The entries of a table for codes of `bits` bits."""
        out = self._room(codes.shape, free)
        if bits <= PAIRED_BITS and codes.shape == self.shape and codes.size % 2 == 0:
            self.steps.add(take_pairs, pair_table(table), codes, out)
        else:
            self.steps.add(_take, table, codes, out)
        return out


def _with_left_repeated(operation: np.ufunc, left: F32, right: F32, out: F32) -> None:
    operation(np.repeat(left, out.shape[-1]).reshape(out.shape), right, out)


def _with_right_repeated(operation: np.ufunc, left: F32, right: F32, out: F32) -> None:
    operation(left, np.repeat(right, out.shape[-1]).reshape(out.shape), out)


def _take(table: F32, codes: Codes, out: F32) -> None:
    # A table has an entry for every code, so wrapping never changes an index.
    np.take(table, codes, out=out, mode="wrap")


def _mend(codes: Codes, moved: MovedBits, table: F32, out: F32) -> None:
    """Infinities and NaN, where there are any."""
    turned = codes
    if moved.turn:
        turned = turned + codes.dtype.type(moved.turn)
    if moved.low < np.iinfo(codes.dtype).max:
        turned = turned & codes.dtype.type(moved.low)
    if np.maximum.reduce(turned, axis=None) >= moved.odd:  # exact: integers
        odd = turned >= codes.dtype.type(moved.odd)
        out[odd] = table[codes[odd]]
