"""Weights taken apart: integer codes, and what every group of them is multiplied with.

A scheme whose formula is `scale * code`, `scale * (code - zero)` or `scale * code + minimum`, with
scales and minima made of fields that whole groups share, has such factors; a table of values or a
permutation has not. The factors give back the very values of the scheme: scale and minimum are
evaluated in the formula's own order, and the last product and sum round as the formula does.
"""

from dataclasses import dataclass
from typing import Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Expression, Layout, Signed, Unsigned, field_codes, numbers
from refquant.layout.expression import leaves
from refquant.layout.layout import aligned
from refquant.layout.values import OPERATIONS
from refquant.tensor import QuantizedTensor

__all__ = ["Factors", "factors_of"]

F32 = NDArray[np.float32]

_OPERANDS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """The value of weight [n, k] is `scale * (code - zero) + minimum`, scale and the rest by group.

    `codes` are integers [n, k]; `scale` f32[n, groups]; `zero` and `minimum` f32[n, groups], or
    None where the formula has no such term.
    """

    codes: NDArray[np.integer]
    scale: F32
    zero: F32 | None
    minimum: F32 | None

    @property
    def group(self) -> int:
        """Weights that share a scale."""
        return int(self.codes.shape[1] // self.scale.shape[1])

    def centred(self) -> NDArray[np.integer] | None:
        """Codes with their zero taken off, or None unless one integer is the zero of all."""
        if self.zero is None:
            return self.codes
        zero = self.zero.flat[0]
        if (self.zero != zero).any() or zero != np.rint(zero) or abs(zero) > 255:
            return None
        codes: NDArray[np.integer] = self.codes.astype(np.int16) - np.int16(zero)
        return codes


@dataclass(frozen=True, slots=True)
class _Formula:
    """The parts of a formula; `code` is the field of codes."""

    code: str
    scale: Expression
    zero: Expression | None
    minimum: Expression | None
    is_minimum_subtracted: bool


def factors_of(tensor: QuantizedTensor) -> Factors | None:
    """The factors of a matrix, or None where its scheme has none."""
    if len(tensor.shape) != 2 or tensor.axis != 1 or tensor.scheme.operators:
        return None
    layout = tensor.layout
    formula = _formula(layout)
    if formula is None:
        return None
    others = [name for name in layout.fields if name != formula.code]
    shares = [aligned(layout.fields[name].over, tensor.shape) for name in others]
    if any(1 < share[0] < tensor.shape[0] for share in shares):
        return None
    group = min((share[1] or tensor.shape[1] for share in shares), default=tensor.shape[1])
    group = min(group, tensor.shape[1])
    if tensor.shape[1] % group:
        return None
    field_values = {name: _spread(tensor, name, group) for name in others}
    minimum = _evaluated(formula.minimum, field_values)
    if minimum is not None and formula.is_minimum_subtracted:
        minimum = np.negative(minimum)
    scale = _evaluated(formula.scale, field_values)
    if scale is None:
        return None
    shape = (tensor.shape[0], tensor.shape[1] // group)
    zero = _evaluated(formula.zero, field_values)
    code = layout.fields[formula.code]
    return Factors(
        field_codes(layout, formula.code, tensor.planes[code.plane], tensor.shape),
        np.ascontiguousarray(np.broadcast_to(scale, shape)),
        None if zero is None else np.ascontiguousarray(np.broadcast_to(zero, shape)),
        None if minimum is None else np.ascontiguousarray(np.broadcast_to(minimum, shape)),
    )


def _formula(layout: Layout) -> _Formula | None:
    single = [
        name
        for name, field in layout.fields.items()
        if set(field.over) == {1} and isinstance(field.element, Signed | Unsigned)
    ]
    value = layout.value
    if len(single) != 1 or list(leaves(value)).count(single[0]) != 1 or _has_table(value):
        return None
    code = single[0]
    minimum: Expression | None = None
    is_subtracted = False
    if _is(value, "add", "sub") and _speaks(value[1], code):
        is_subtracted, minimum = value[0] == "sub", value[2]
        value = value[1]
    if not _is(value, "mul"):
        return None
    scale, inner = (value[1], value[2]) if _speaks(value[2], code) else (value[2], value[1])
    if inner == code:
        return _Formula(code, scale, None, minimum, is_subtracted)
    if _is(inner, "sub") and inner[1] == code:
        return _Formula(code, scale, inner[2], minimum, is_subtracted)
    return None


def _is(value: object, *operators: str) -> TypeGuard[tuple[str, Expression, Expression]]:
    return isinstance(value, tuple) and len(value) == _OPERANDS and value[0] in operators


def _has_table(value: object) -> bool:
    return isinstance(value, tuple) and (value[0] == "lut" or any(map(_has_table, value[1:])))


def _speaks(value: Expression, name: str) -> bool:
    return name in leaves(value)


def _spread(tensor: QuantizedTensor, name: str, group: int) -> F32:
    """A field's numbers for every group of `group` weights, or with 1 where they broadcast."""
    layout = tensor.layout
    field = layout.fields[name]
    codes = field_codes(layout, name, tensor.planes[field.plane], tensor.shape)
    values = numbers(codes, field.element)
    share = min(aligned(field.over, tensor.shape)[1] or tensor.shape[1], tensor.shape[1])
    return np.repeat(values, share // group, axis=1) if share > group else values


def _evaluated(value: Expression | None, fields: dict[str, F32]) -> F32 | None:
    """An expression over groups, each operator rounded once in binary32."""
    if value is None:
        return None
    if isinstance(value, str):
        return fields[value]
    if isinstance(value, float):
        return np.full((1, 1), value, np.float32)
    left, right = (_evaluated(operand, fields) for operand in value[1:])
    return np.asarray(OPERATIONS[str(value[0])](left, right), np.float32)
