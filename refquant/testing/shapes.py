"""Shapes that fit a scheme, and tensors made from codes."""

from collections.abc import Mapping
from math import lcm

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Digits, Element, Layout, Signed, field_codes, pack_codes
from refquant.tensor import QuantizedTensor

__all__ = ["WHOLE_AXIS", "code_fields", "code_range", "fitting_shape", "tensor_of_codes"]

Codes = NDArray[np.integer]

WHOLE_AXIS = 64
"""Weights along an axis that one group spans, where the scheme sets no number."""


def fitting_shape(scheme: Scheme, rows: int = 2) -> tuple[int, ...]:
    """The smallest shape of at least two axes in which no block and no group is cut.

    `rows` is the first axis where the scheme leaves it free.
    """
    for operator in scheme.operators:
        if shape_of_operator := operator.fitting_shape(rows):
            return shape_of_operator
    extents = [plane.block for plane in scheme.planes.values()] + [scheme.group]
    rank = max(2, *(len(extent) for extent in extents if any(extent)), 0)
    shape = []
    for axis in range(rank, 0, -1):
        given = [extent[-axis] for extent in extents if len(extent) >= axis]
        shape.append(lcm(*(n for n in given if n)))
    if shape[-1] == 1:
        shape[-1] = WHOLE_AXIS
    if shape[0] == 1:
        shape[0] = rows
    return tuple(shape)


def code_fields(layout: Layout) -> tuple[str, ...]:
    """Names of the fields that have a code for each weight."""
    return tuple(name for name, field in layout.fields.items() if set(field.over) == {1})


def code_range(element: Element) -> range:
    """All codes of an element; those of floats are their bits."""
    if isinstance(element, Digits):
        return range(element.base)
    if isinstance(element, Signed):
        return range(-(1 << (element.bits - 1)), 1 << (element.bits - 1))
    return range(1 << element.bits)


def tensor_of_codes(tensor: QuantizedTensor, codes: Mapping[str, Codes]) -> QuantizedTensor:
    """`tensor` with some fields' codes replaced: `code[*ceil(shape / over)]` for each field."""
    layout, shape = tensor.layout, tensor.shape
    planes = {name: np.zeros_like(records) for name, records in tensor.planes.items()}
    for name, field in layout.fields.items():
        kept = codes.get(name)
        if kept is None:
            kept = field_codes(layout, name, tensor.planes[field.plane], shape)
        pack_codes(layout, name, kept, planes[field.plane], shape)
    return QuantizedTensor(tensor.scheme, shape, planes, tensor.axis)
