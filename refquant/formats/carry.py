"""Codes and scales carried from one layout into another, so that no weight is computed again.

Both layouts have one code for each weight and one scale for each group, as in d (q - 8). Codes are
moved by the difference of what is taken from them, scales written in the other's number format.
Nothing here is believed: the result is returned only if every weight has the same value.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Field, Layout, Minifloat, field_codes, numbers, pack_codes
from refquant.tensor import QuantizedTensor

__all__ = ["carried", "same_values"]

Floats = NDArray[np.float32]
Codes = NDArray[np.integer]

HALF: Final = Minifloat(sign=1, exponent=5, mantissa=10, bias=15, specials="ieee")


def carried(tensor: QuantizedTensor, target: Scheme) -> QuantizedTensor | None:
    """The tensor under another scheme with its own codes and scales, None where they do not fit."""
    if tensor.scheme.operators or target.operators or tensor.axis != len(tensor.shape) - 1:
        return None
    if target.why_not(tensor.shape, -1):
        return None
    source, other = _roles(tensor.layout), _roles(target.layout)
    if source is None or other is None:
        return None
    layout, shape = target.layout, tensor.shape
    scales = _scales(tensor, source[1], layout.fields[other[1]])
    codes = _stored(tensor, source[0]).astype(np.int16)
    codes = codes - int(_taken(tensor.layout)) + int(_taken(layout))
    if scales is None:
        return None
    planes = {
        name: np.zeros((*layout.grid(name, shape), plane.bytes), np.uint8)
        for name, plane in layout.planes.items()
    }
    dtype = np.int8 if codes.min() < 0 else np.uint8
    for name, values in ((other[0], codes.astype(dtype)), (other[1], scales)):
        pack_codes(layout, name, values, planes[layout.fields[name].plane], shape)
    flat = {name: plane.reshape(-1) for name, plane in planes.items()}
    result = QuantizedTensor.from_planes(target, shape, flat)
    return result if same_values(tensor.dequantize(), result.dequantize()) else None


def same_values(one: Floats, other: Floats) -> bool:
    """True if every weight has the same value; a zero may have lost its sign, a NaN its payload."""
    return bool(np.array_equal(one, other, equal_nan=True))


def _roles(layout: Layout) -> tuple[str, str] | None:
    """The names of the field of codes and of the field of scales, if there are no others."""
    codes = [name for name, one in layout.fields.items() if set(one.over) == {1}]
    scales = [name for name in layout.fields if name not in codes]
    return (codes[0], scales[0]) if len(codes) == len(scales) == 1 else None


def _stored(tensor: QuantizedTensor, name: str) -> Codes:
    plane = tensor.planes[tensor.layout.fields[name].plane]
    return field_codes(tensor.layout, name, plane, tensor.shape)


def _taken(layout: Layout) -> float:
    """The number that is taken from a code before it is multiplied."""
    value = layout.value
    inner = value[2] if isinstance(value, tuple) and value[0] == "mul" else None
    if isinstance(inner, tuple) and inner[0] == "sub" and isinstance(inner[2], float):
        return inner[2]
    return 0.0


def _scales(
    tensor: QuantizedTensor, name: str, wanted: Field
) -> Codes | None:  # -> code[*shape[:-1], groups]
    """One scale for each of the other layout's groups, in its number format."""
    stored = _stored(tensor, name)
    here, there = tensor.layout.fields[name].element, wanted.element
    if here != there and isinstance(here, Minifloat) and isinstance(there, Minifloat):
        if there != HALF:
            return None
        with np.errstate(over="ignore"):
            stored = numbers(stored, here).astype(np.float16).view(np.uint16)
    width = wanted.over[-1]
    groups = -(-tensor.shape[-1] // width) if width else 1
    whole = np.broadcast_to(stored, (*tensor.shape[:-1], stored.shape[-1]))
    if groups % whole.shape[-1]:
        return None
    return np.ascontiguousarray(np.repeat(whole, groups // whole.shape[-1], axis=-1))
