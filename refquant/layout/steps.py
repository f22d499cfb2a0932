"""What a compiled decoder is made of: loads from records, then steps over arrays that stay.

Everything is bound before the first tile: a step is a function and its operands, outputs included.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refquant.layout.records import Bytes, as_items, window_of

__all__ = ["VALUES", "Array", "Load", "Operand", "Step", "Steps", "Values"]

Array = NDArray[np.generic]


class Values:
    """Stands for the values of the tile at hand, the only operand that changes with it."""


VALUES = Values()
Operand = Array | np.generic | Values
"""What a number may be while a formula is computed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is copied from the records of one plane: `copy` takes a tile's part of `window`."""

    plane: str
    window: Callable[[Bytes], Array]
    copy: Callable[[Array], object]


@dataclass(frozen=True, slots=True)
class Step:
    """A call of `function`; of two or three operands the last is usually the output."""

    function: Callable[..., object]
    operands: tuple[object, ...]

    def run(self, values: Array) -> None:
        """Do it for the tile whose values are `values`."""
        self.function(*[values if one is VALUES else one for one in self.operands])


@dataclass
class Steps:
    """Loads and steps as they are found; `records` says how many records of a plane a tile has."""

    records: dict[str, int]
    loads: list[Load] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    _bytes: dict[object, Bytes] = field(default_factory=dict)

    def add(self, function: Callable[..., object], *operands: object) -> None:
        """One step more."""
        self.steps.append(Step(function, operands))

    def bytes_of(
        self, plane: str, first: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Bytes:  # -> u8[r, *shape], contiguous
        """Bytes `first + i*s0 + j*s1 + ...` of every record, loaded once however many ask."""
        key = (plane, first, shape, strides)
        if key not in self._bytes:
            self._bytes[key] = np.empty((self.records[plane], *shape), np.uint8)
            self.load_bytes(plane, first, shape, strides, self._bytes[key])
        return self._bytes[key]

    def load_bytes(
        self,
        plane: str,
        first: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        held: Bytes,
    ) -> None:
        """As `bytes_of`, into `held`; neighbours travel as one item."""

        def window(records: Bytes) -> Array:
            return as_items(window_of(records, first, shape, strides))

        sample = window_of(np.empty((1, 1 << 16), np.uint8), first, shape, strides)
        items = as_items(held.reshape(len(held), *sample.shape[1:]))
        self.loads.append(Load(plane, window, lambda part: np.copyto(items, part)))
