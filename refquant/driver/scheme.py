"""A scheme: a layout under a name that says whose contract it is, and how codes are chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Layout, Plane
from refquant.layout.operators import Operator, stored_shapes

__all__ = ["Encoder", "Parameters", "Scheme", "WeightedEncoder"]

F32 = NDArray[np.float32]

Encoder = Callable[[F32], Mapping[str, NDArray[np.integer]]]
"""Weights in groups to the codes of each field: `f32[g, n] -> {field: code[g, n / over]}`."""

WeightedEncoder = Callable[[F32, F32], Mapping[str, NDArray[np.integer]]]
"""Rows and the importance of each of their columns to the codes of the rows' groups in turn:
`f32[rows, n], f32[n] -> {field: code[g, group / over]}`."""

Parameters = Mapping[str, str | int]


@dataclass(frozen=True)
class Scheme:
    """A named contract: `layout` decodes, `encode` chooses codes under a stated algorithm.

    `group` says which weights `encode` sees together, in the convention of a plane's block: 32
    along the axis, 0 for a whole axis, eight zeros for a whole tensor. A tensor whose axis does
    not divide is refused unless `ragged`, when the last group is filled with zeros whose codes
    are not stored. Encoders that have no rule for NaN and infinities leave `non_finite` false
    and the driver refuses such weights. `encode_weighted` is the algorithm where the importance
    of each column is known, if the origin has one. `parameters` are the knobs of a parametric
    family. An encoder whose choice for one group depends on all others sets `whole` and gets
    the tensor in one piece. `operators` stand between the planes and the layout where a layout
    alone cannot say how the tensor is stored (level 2).
    """

    name: str
    title: str
    layout: Layout
    encode: Encoder | None
    group: tuple[int, ...] = (1,)
    ragged: bool = False
    non_finite: bool = False
    parameters: Parameters = dataclass_field(default_factory=dict, compare=False)
    encode_weighted: WeightedEncoder | None = None
    whole: bool = False
    operators: tuple[Operator, ...] = ()

    def __repr__(self) -> str:
        return f"refquant.scheme({self.name!r})"

    @property
    def planes(self) -> Mapping[str, Plane]:
        """Declarations of the planes, by name."""
        return self.layout.planes

    @property
    def can_encode(self) -> bool:
        """Whether tensors can be quantized to it, not only decoded."""
        return self.encode is not None

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the layout's canonical bytes, which selects kernels."""
        return self.layout.digest

    def bits_per_weight(self, shape: tuple[int, ...] | None = None) -> Fraction:
        """Stored bits over weights for `shape`, or for a large matrix where none is given."""
        size = shape or (4096, 4096)
        if self.operators:
            stored = stored_shapes(self.layout, self.operators, size)
            return Fraction(8 * sum(map(prod, stored.values())), prod(size))  # exact: integers
        return self.layout.bits_per_weight(size)

    def why_not(self, shape: tuple[int, ...], axis: int = -1) -> str | None:
        """The reason why a tensor of `shape` cannot be quantized, or None when it can."""
        if self.encode is None:
            return "this scheme can be decoded only"
        if self.operators:
            return next(filter(None, (op.why_not(shape, axis) for op in self.operators)), None)
        if not shape or 0 in shape:
            return f"shape {list(shape)} holds no weights along an axis"
        if not -len(shape) <= axis < len(shape):
            return f"axis {axis} is out of range for shape {list(shape)}"
        # Where one group holds the whole tensor, blocks inside of it must still be whole.
        shares = [field.over[-1] for field in self.layout.fields.values()]
        size = self.group[-1] or max(shares)
        if not self.ragged and size and shape[axis] % size:
            return f"axis {axis} has {shape[axis]} weights, expected a multiple of {size}"
        return None
