"""A tensor taken apart weight by weight, so that it can be read wrongly on purpose.

Every field is spread over its weights as codes and as numbers. A wrong reading replaces some of
them, or the formula, or the bits that codes are taken from; its values are then computed as the
right ones are. Nothing here is quick: it runs where a comparison has failed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from refquant.layout import (
    Element,
    Expression,
    Field,
    Layout,
    Slice,
    field_codes,
    numbers,
    pack_field,
)
from refquant.layout.layout import aligned
from refquant.layout.values import OPERATIONS
from refquant.tensor import QuantizedTensor

__all__ = ["Places", "Reading", "Suspect", "codes_at", "places_of", "read", "spread"]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

Places = tuple[tuple[tuple[int, NDArray[np.int64]], ...], ...]
"""For each piece of a field, for each of its joined slices: bits, and the first bit of each run."""

Suspect = tuple[str, Callable[[], F32]]
"""A mistake in words, and the values that it gives."""

PADDING = 512
"""Bits of zero before and after a plane, for readings that begin too early or end too late."""


@dataclass(frozen=True)
class Reading:
    """Codes and numbers of each field for each weight, `[*shape]`, and the formula over them."""

    layout: Layout
    codes: Mapping[str, Codes]
    numbers: Mapping[str, F32]
    value: Expression
    tables: Mapping[str, F32]

    def values(self, dtype: type[np.floating] = np.float32) -> F32:  # -> f32[*shape]
        """The formula, each operator in `dtype`, the result in binary32."""
        with np.errstate(all="ignore"):
            return self._evaluate(self.value, dtype).astype(np.float32)

    def _evaluate(self, value: Expression, dtype: type[np.floating]) -> NDArray[np.floating]:
        if isinstance(value, str):
            return self.numbers[value].astype(dtype)
        if isinstance(value, float):
            return np.asarray(value, dtype)
        if value[0] == "lut":
            table = self.tables[str(value[1])].astype(dtype)
            codes = self.codes[str(value[2])].astype(np.int64)
            run = len(table) >> self.layout.fields[str(value[2])].element.bits
            if run > 1:
                codes = codes * run + np.arange(codes.shape[-1]) % run
            return table[codes % len(table)]
        left, right = (self._evaluate(operand, dtype) for operand in value[1:])
        operation = OPERATIONS[str(value[0])]
        return np.asarray(operation(left, right))

    def with_codes(self, name: str, codes: Codes, element: Element | None = None) -> "Reading":
        """The reading with other codes in one field, and the numbers they stand for."""
        kind = element or self.layout.fields[name].element
        spelled = numbers(codes, kind)
        return replace(
            self, codes={**self.codes, name: codes}, numbers={**self.numbers, name: spelled}
        )

    def with_numbers(self, name: str, numbers: F32) -> "Reading":
        """The reading with other numbers in one field."""
        return replace(self, numbers={**self.numbers, name: numbers.astype(np.float32)})


def read(tensor: QuantizedTensor) -> Reading:
    """The right reading of a tensor."""
    layout = tensor.layout
    codes = {}
    for name, field in layout.fields.items():
        found = field_codes(layout, name, tensor.planes[field.plane], tensor.shape)
        codes[name] = spread(found, field, tensor.shape)
    values = {name: numbers(codes[name], field.element) for name, field in layout.fields.items()}
    return Reading(layout, codes, values, layout.value, dict(layout.tables))


def spread(codes: Codes, field: Field, shape: tuple[int, ...]) -> Codes:
    """Codes `[*ceil(shape / over)]` repeated for every weight that shares them."""
    for axis, (n, over) in enumerate(zip(shape, aligned(field.over, shape), strict=True)):
        if over > 1:
            codes = np.repeat(codes, min(over, n), axis=axis)
        codes = codes[(slice(None),) * axis + (slice(n),)]
    return np.ascontiguousarray(codes)


def places_of(field: Field) -> Places:
    """Where the codes of a field begin, as declared."""
    return tuple(tuple((run.bits, _starts(run)) for run in piece) for piece in field.pieces)


def _starts(run: Slice) -> NDArray[np.int64]:
    return np.fromiter(run.starts(), np.int64, run.count)


def codes_at(tensor: QuantizedTensor, name: str, places: Places) -> Codes:  # -> code[*shape]
    """The codes of a field when they are taken from `places` of each record.

    A place may lie outside of the record: the plane is read as one string of bits, with zeros
    before and after it.
    """
    field = tensor.layout.fields[name]
    plane = tensor.planes[field.plane]
    size = plane.shape[-1]
    bits = np.unpackbits(np.ascontiguousarray(plane).reshape(-1), bitorder="little")
    padded = np.pad(bits, PADDING)
    origins = np.arange(plane.size // size, dtype=np.int64)[:, None] * (8 * size) + PADDING
    pieces = []
    for piece in places:
        code = np.zeros((len(origins), len(piece[0][1])), np.uint32)
        low = 0
        for width, starts in piece:
            at = np.clip(origins + starts, 0, len(padded) - width)
            for k in range(width):
                code |= padded[at + k].astype(np.uint32) << np.uint32(low + k)
            low += width
        pieces.append(code)
    records = np.zeros((len(origins), size), np.uint8)
    pack_field(field, np.concatenate(pieces, axis=1), records)
    found = field_codes(tensor.layout, name, records.reshape(plane.shape), tensor.shape)
    return spread(found, field, tensor.shape)
