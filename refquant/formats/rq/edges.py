"""Codes of no weight: beyond a ragged edge, or digits that a record has to spare. They are 0.

Where a tensor's axis is no multiple of a block, the last records along it hold codes for weights
that do not exist. Were they free, one tensor would have many spellings. Only the records at an
edge are looked at, and nothing at all where every axis is a multiple of every block.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.layout import Digits, Field, Layout, Plane, unpack_field
from refquant.layout.layout import aligned
from refquant.layout.places import bits_of_codes, codes_beyond

__all__ = ["check_edges", "has_edges"]

Bytes = NDArray[np.uint8]

_CHUNK = 1 << 18
"""Bytes of records that are taken apart into digits together."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Which records lie at one edge of a tensor, and which of their codes stand for no weight.

    Records are numbered as they are stored: number n is at the edge if `n // inner % extent` is
    `extent - 1`. `mask` are the bits of the codes that are not digits, `digits` those that are.
    """

    inner: int
    extent: int
    mask: Bytes
    digits: tuple[tuple[Field, NDArray[np.bool_]], ...]

    def of(self, records: Bytes, first: int) -> Bytes:  # u8[r, bytes], from record `first` on
        """The records at this edge, a view where that is possible."""
        if self.inner == 1:
            return records[(self.extent - 1 - first) % self.extent :: self.extent]
        numbers = np.arange(first, first + len(records), dtype=np.int64)
        found: Bytes = records[numbers // self.inner % self.extent == self.extent - 1]
        return found


@lru_cache(maxsize=256)
def _edges(layout: Layout, plane: str, shape: tuple[int, ...]) -> tuple[Edge, ...]:
    declared = layout.planes[plane]
    grid, blocks = layout.grid(plane, shape), aligned(declared.block, shape)
    fields = [field for field in layout.fields.values() if field.plane == plane]
    fixed = len(shape) - len(declared.order or ())
    edges = [_surplus(fields, declared)]
    for place in range(len(shape)):
        axis = place if place < fixed else fixed + (declared.order or ())[place - fixed]
        rest = shape[axis] % blocks[axis]
        if rest:
            beyond = [
                (field, codes_beyond(field, blocks, aligned(field.over, shape), axis, rest))
                for field in fields
            ]
            digits = tuple(pair for pair in beyond if isinstance(pair[0].element, Digits))
            mask = np.zeros(declared.bytes, np.uint8)
            for field, codes in beyond:
                if not isinstance(field.element, Digits):
                    mask |= bits_of_codes(field, declared, codes)
            edges.append(Edge(prod(grid[place + 1 :]), grid[place], mask, digits))
    return tuple(edge for edge in edges if edge.mask.any() or any(c.any() for _, c in edge.digits))


def _surplus(fields: list[Field], plane: Plane) -> Edge:
    """The digits that no share of a record needs, in every record."""
    digits = []
    for field in fields:
        if isinstance(field.element, Digits):
            pairs = zip(plane.block, field.over, strict=True)
            shares = prod(block // over for block, over in pairs if over)
            digits.append((field, np.arange(field.count) >= shares))
    return Edge(1, 1, np.zeros(plane.bytes, np.uint8), tuple(digits))


def has_edges(layout: Layout, plane: str, shape: tuple[int, ...]) -> bool:
    """Whether some codes of this plane stand for no weight."""
    return bool(_edges(layout, plane, shape))


def check_edges(
    layout: Layout,
    plane: str,
    records: Bytes,
    shape: tuple[int, ...],
    where: str,
    first: int = 0,
) -> None:  # u8[r, bytes]
    """Refuse records, from number `first` on, with a code of no weight that is not 0."""
    for edge in _edges(layout, plane, shape):
        found = edge.of(records, first)
        used = np.flatnonzero(edge.mask)
        step = max(_CHUNK // max(records.shape[1], 1), 1)
        for start in range(0, len(found), step):
            part = found[start : start + step]
            if (part[:, used] & edge.mask[used]).any() or any(
                unpack_field(field, np.ascontiguousarray(part))[:, codes].any()
                for field, codes in edge.digits
            ):
                message = "a code of no weight is not 0"
                raise FormatError("E_CODE_EDGE", message, where=where)
