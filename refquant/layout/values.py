"""Numbers out of records: each field spread over its weights, the formula evaluated in binary32.

Every axis of the tensor is split at the extents over which fields are shared (256, 32, 1 for a
K-quant), so that sharing is NumPy broadcasting and small factors are multiplied while small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout.codes import field_codes
from refquant.layout.declare import Element, Field, Minifloat, Signed, Unsigned
from refquant.layout.expression import Expression
from refquant.layout.layout import Layout, aligned
from refquant.layout.records import Bytes, Codes, is_integer
from refquant.numerics import float32_from_bfloat16, float32_from_float16, minifloat_values

__all__ = ["OPERATIONS", "evaluate", "numbers", "small_offset"]

F32 = NDArray[np.float32]
FLOAT32 = Minifloat(1, 8, 23, 127, "ieee")
FLOAT16 = Minifloat(1, 5, 10, 15, "ieee")
BFLOAT16 = Minifloat(1, 8, 7, 127, "ieee")
SMALL_INTEGER = Signed(8)
OPERATIONS: Mapping[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
}


@dataclass(frozen=True, slots=True)
class Split:
    """How the axes of a tensor are cut so that every field broadcasts.

    `extents[a]` are the pieces of axis a, outermost first; their product is the axis, padded to
    whole shares where it does not divide.
    """

    extents: tuple[tuple[int, ...], ...]
    overs: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the cut tensor."""
        return tuple(n for axis in self.extents for n in axis)

    @property
    def padded(self) -> tuple[int, ...]:
        """Shape of the tensor with every axis padded to whole shares."""
        return tuple(prod(axis) for axis in self.extents)

    def field_shape(self, over: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a field shared over `over` weights, with 1 where it broadcasts."""
        return tuple(
            n if o >= share else 1
            for axis, shares, share in zip(self.extents, self.overs, over, strict=True)
            for n, o in zip(axis, shares, strict=True)
        )


@lru_cache(maxsize=256)
def split_axes(layout: Layout, shape: tuple[int, ...]) -> Split:
    """The split of a tensor of `shape` under `layout`, whose shares divide one another."""
    extents, overs = [], []
    fields = [aligned(field.over, shape) for field in layout.fields.values()]
    for axis, n in enumerate(shape):
        shares = _fitted(sorted({over[axis] for over in fields} | {1}), n)
        whole = -(-n // shares[0]) * shares[0]
        extents.append((whole // shares[0], *(a // b for a, b in pairwise(shares))))
        overs.append(tuple(shares))
    return Split(tuple(extents), tuple(overs))


def _fitted(shares: list[int], n: int) -> list[int]:
    """Shares from the largest down; one that covers all `n` weights shrinks to whole smaller ones.

    So a scale of 2**40 weights on an axis of 5 pads nothing, and a scale of the whole axis need
    not be a multiple of the groups inside it.
    """
    fitted = [1]
    for share in shares[1:]:
        small = fitted[-1]
        fitted.append(share if share < n else -(-n // small) * small)
    return sorted(set(fitted), reverse=True)


def numbers(codes: Codes, element: Element) -> F32:  # code[...] -> f32[...]
    """The binary32 value of each code by itself: exact for every element kind."""
    if is_integer(element):
        return codes.astype(np.float32)
    if element == FLOAT32:
        return np.ascontiguousarray(codes).view(np.float32)
    if element == FLOAT16:
        return float32_from_float16(codes.astype(np.uint16, copy=False))
    if element == BFLOAT16:
        return float32_from_bfloat16(codes.astype(np.uint16, copy=False))
    if not isinstance(element, Minifloat):
        raise SchemeError(f"{element} has no value")
    table = minifloat_values(
        element.sign, element.exponent, element.mantissa, element.bias, element.specials
    )
    return np.take(table, codes)


def evaluate(
    layout: Layout, planes: Mapping[str, Bytes], shape: tuple[int, ...], out: F32 | None = None
) -> F32:  # u8[*grid, bytes] per plane -> f32[*shape]
    """The tensor's values: the formula over its fields, each operator rounded once in binary32."""
    split = split_axes(layout, shape)
    spread: dict[str, Codes] = {}
    for name, field in layout.fields.items():
        codes = field_codes(layout, name, planes[field.plane], shape)
        spread[name] = _spread(codes, aligned(field.over, shape), split)
    values = np.empty(shape, np.float32) if out is None else out
    direct = split.padded == shape and values.flags.c_contiguous
    target = values.reshape(split.shape) if direct else None
    with np.errstate(all="ignore"):
        value = _evaluate(layout, layout.value, spread, split.shape, target)
    if target is None:
        full = np.broadcast_to(value, split.shape).reshape(split.padded)
        values[...] = full[tuple(slice(n) for n in shape)]
    elif value is not target:
        target[...] = value
    return values


def _spread(codes: Codes, over: tuple[int, ...], split: Split) -> Codes:
    counts = tuple(
        1 if count == 1 else -(-n // o)
        for count, n, o in zip(codes.shape, split.padded, over, strict=True)
    )
    if codes.shape != counts:
        padded = np.zeros(counts, codes.dtype)
        padded[tuple(slice(n) for n in codes.shape)] = codes
        codes = padded
    return codes.reshape(split.field_shape(over))


def _evaluate(
    layout: Layout,
    value: Expression,
    spread: Mapping[str, Codes],
    full: tuple[int, ...],
    out: F32 | None,
) -> F32:
    """The numbers of a sub-formula, written to `out` where they have its shape.

    Of two operands one works in `out` too, which spares a pass over fresh memory.
    """
    if isinstance(value, float):
        return np.asarray(value, np.float32)
    if isinstance(value, str):
        return _numbers_into(spread[value], layout.fields[value].element, out)
    if value[0] == "lut":
        return _look_up(layout, str(value[1]), str(value[2]), spread, full, out)
    if (offset := small_offset(layout, value)) is not None:
        shifted = spread[str(value[1])].view(np.int8) - offset
        return _numbers_into(shifted, SMALL_INTEGER, out)
    shared = out is not None and _shape(value[1], spread) == out.shape
    left = _evaluate(layout, value[1], spread, full, out if shared else None)
    right = _evaluate(layout, value[2], spread, full, None if shared else out)
    operation = OPERATIONS[str(value[0])]
    if out is not None and np.broadcast_shapes(left.shape, right.shape) == out.shape:
        operation(left, right, out=out)
        return out
    return np.asarray(operation(left, right))


def _look_up(
    layout: Layout,
    name: str,
    index: str,
    spread: Mapping[str, Codes],
    full: tuple[int, ...],
    out: F32 | None,
) -> F32:
    """Entries of a table: one number for each code, or a number for each weight that shares it."""
    table, codes = layout.tables[name].astype(np.float32, copy=False), spread[index]
    field = layout.fields[index]
    if table.size > 1 << field.element.bits:
        return _vectors(table, codes, field, full)
    # A table has an entry for every code, so wrapping never changes an index.
    fits = out is not None and codes.shape == out.shape
    return np.take(table, codes, out=out if fits else None, mode="wrap")


def _vectors(table: F32, index: Codes, field: Field, full: tuple[int, ...]) -> F32:
    """Entries of as many numbers as weights share a code: code c stands for entry c of them."""
    run = field.over[-1]
    axes, inner = len(full), 1
    while inner < run:
        axes -= 1
        inner *= full[axes]
    taken = table.reshape(-1, run).take(index.reshape(index.shape[:axes]), axis=0)
    return taken.reshape(*index.shape[:axes], *full[axes:])


def _shape(value: Expression, spread: Mapping[str, Codes]) -> tuple[int, ...]:
    """Shape of a sub-formula's numbers."""
    if isinstance(value, str):
        return spread[value].shape
    if isinstance(value, float):
        return ()
    operands = value[2:] if value[0] == "lut" else value[1:]
    return np.broadcast_shapes(*(_shape(operand, spread) for operand in operands))


def _numbers_into(codes: Codes, element: Element, out: F32 | None) -> F32:
    if out is None or out.shape != codes.shape or not is_integer(element):
        return numbers(codes, element)
    np.copyto(out, codes, casting="unsafe")
    return out


def small_offset(layout: Layout, value: Expression) -> np.int8 | None:
    """The constant of `code - constant` where that is exact in int8, which spares binary32."""
    match value:
        case ("sub", str(name), float(offset)):
            element = layout.fields[name].element
            if isinstance(element, Unsigned) and element.bits <= 7 and offset == int(offset):
                lowest, highest = -offset, (1 << element.bits) - 1 - offset
                if lowest >= -128 and highest <= 127 and -128 <= offset <= 127:
                    return np.int8(offset)
    return None
