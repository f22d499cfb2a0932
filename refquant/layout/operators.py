"""Level 2: what turns stored planes into planes that a layout describes.

A layout places each weight by arithmetic on its indexes alone. Where a stored tensor asks for more,
such as groups that cross rows, or a group for each input that another tensor names, its scheme
lists operators. Each of them turns planes, as they are stored, into planes for the layout below
it, and back; the last one below is an ordinary layout. An `.rq` file says which ones
(`refquant/schemes/storage.py`); other containers refuse such tensors.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refquant.layout.layout import Layout

__all__ = ["Below", "Operator", "stored_shapes"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
Shape = tuple[int, ...]


class Below(Protocol):
    """What is left of a scheme without its first operator, for encoding."""

    @property
    def layout(self) -> Layout:
        """The layout below all operators."""

    def planes(self, x: F32, importance: F32 | None = None) -> dict[str, Bytes]:
        """The planes of weights in the arrangement that the operator gives below."""

    def codes(self, groups: F32) -> Mapping[str, NDArray[np.integer]]:
        """The scheme's codes for groups of weights, `f32[g, n] -> {field: code[g, n / over]}`."""


class Operator(ABC):
    """One step between stored planes and the layout.

    `shape` is always the tensor's own; `title` says what the step does, for messages and pages.
    `weighted` is true where encoding makes use of the importance of inputs. All methods but
    `encode` leave everything as it is.
    """

    title: str
    weighted = False

    def fitting_shape(self, rows: int) -> Shape | None:
        """A small shape that shows what the step does, or None where any will do."""
        del rows
        return None

    def why_not(self, shape: Shape, axis: int) -> str | None:
        """The reason why a tensor of `shape` cannot be quantized through it, or None."""
        if not shape or 0 in shape:
            return f"shape {list(shape)} holds no weights along an axis"
        if axis not in (-1, len(shape) - 1):
            return f"axis {axis} is given, but this scheme stores groups along the last axis"
        return None

    def inner_shape(self, shape: Shape) -> Shape:
        """The shape that the layout below speaks of."""
        return shape

    def stored(self, layout: Layout, shape: Shape, below: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of the stored planes, given those of the planes below."""
        del layout, shape
        return dict(below)

    def expand(
        self, layout: Layout, planes: Mapping[str, Bytes], shape: Shape
    ) -> tuple[Layout, dict[str, Bytes]]:
        """The layout below and its planes, from the stored ones."""
        del shape
        return layout, dict(planes)

    def values(self, inner: F32, shape: Shape) -> F32:
        """The tensor from the values that the layout below gives."""
        del shape
        return inner

    def inner_values(self, values: F32, shape: Shape) -> F32:
        """The inverse of `values`; places that no weight has are 0."""
        del shape
        return values

    @abstractmethod
    def encode(self, below: Below, x: F32, importance: F32 | None) -> dict[str, Bytes]:
        """The stored planes of `x`; `below` is the scheme without this operator."""


def stored_shapes(
    layout: Layout, operators: tuple[Operator, ...], shape: Shape
) -> dict[str, Shape]:
    """The shape of each stored plane, record bytes last, of a tensor of `shape`."""
    inner = shape
    for operator in operators:
        inner = operator.inner_shape(inner)
    found = {name: (*layout.grid(name, inner), p.bytes) for name, p in layout.planes.items()}
    for operator in reversed(operators):
        found = operator.stored(layout, shape, found)
    return found
