"""One block of a tensor taken apart: its bytes, its fields' codes and numbers, its values.

What `refquant explain`, the worked blocks of the specification and failing comparisons print is
read here from the layout alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError
from refquant.layout.codes import field_codes
from refquant.layout.declare import Element
from refquant.layout.expression import OPERATORS, Expression
from refquant.layout.layout import Layout, aligned
from refquant.layout.records import Bytes, Codes
from refquant.layout.tiles import row_unit, tile_planes
from refquant.layout.values import evaluate, numbers

__all__ = [
    "BlockReading",
    "FieldReading",
    "block_count",
    "block_extents",
    "byte_ranges",
    "explain_block",
    "formula_with",
]

F32 = NDArray[np.float32]

LEAST_WEIGHTS = 32
"""Weights shown along the last axis where the layout's own blocks are smaller than eight."""


@dataclass(frozen=True, slots=True)
class FieldReading:
    """The codes of one field in a block, one for every `over` weights, and their numbers."""

    name: str
    plane: str
    element: Element
    over: tuple[int, ...]
    codes: Codes
    numbers: F32

    def at(self, place: tuple[int, ...]) -> tuple[int, float]:
        """The code and the number of the weight at `place` of the block."""
        share = tuple(p // o for p, o in zip(place, self.over, strict=True))
        return int(self.codes[share]), float(self.numbers[share])


@dataclass(frozen=True, slots=True)
class BlockReading:
    """A block of weights: where it begins in the tensor, and everything it is made of.

    `records` holds, for each plane, the bytes of the records that the block touches with their
    places in the plane's grid.
    """

    start: tuple[int, ...]
    records: Mapping[str, tuple[tuple[tuple[int, ...], bytes], ...]]
    fields: Mapping[str, FieldReading]
    values: F32


def block_extents(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Weights along each axis that are explained together: whole blocks of every plane."""
    extents = []
    for axis in range(-len(shape), 0):
        blocks = [p.block[axis] for p in layout.planes.values() if len(p.block) >= -axis]
        extents.append(min(lcm(*(b for b in blocks if b)), shape[axis]))
    if prod(extents) < 8:
        extents[-1] = min(-(-LEAST_WEIGHTS // extents[-1]) * extents[-1], shape[-1])
    return tuple(extents)


def block_count(layout: Layout, shape: tuple[int, ...]) -> int:
    """How many blocks a tensor of `shape` has."""
    extents = block_extents(layout, shape)
    return prod(-(-n // e) for n, e in zip(shape, extents, strict=True))


def explain_block(
    layout: Layout, planes: Mapping[str, Bytes], shape: tuple[int, ...], number: int
) -> BlockReading:
    """Block `number` of a tensor, blocks counted with the last axis fastest."""
    extents = block_extents(layout, shape)
    counts = tuple(-(-n // e) for n, e in zip(shape, extents, strict=True))
    if not 0 <= number < prod(counts):
        raise SchemeError(f"no block {number} in a tensor of {prod(counts)} blocks")
    place = tuple(int(i) for i in np.unravel_index(number, counts))
    start = tuple(p * e for p, e in zip(place, extents, strict=True))
    stop = tuple(min(s + e, n) for s, e, n in zip(start, extents, shape, strict=True))
    unit = row_unit(layout, shape)
    first = start[0] // unit * unit
    last = min(-(-stop[0] // unit) * unit, shape[0])
    tile = tile_planes(layout, planes, shape, first, last)
    size = (last - first, *shape[1:])
    region = ((start[0] - first, stop[0] - first), *zip(start[1:], stop[1:], strict=True))
    fields = {name: _field(layout, name, tile, size, region) for name in layout.fields}
    values = evaluate(layout, tile, size)[tuple(slice(a, b) for a, b in region)]
    records = {
        name: _records(layout, name, planes[name], shape, start, stop) for name in layout.planes
    }
    return BlockReading(start, records, fields, np.ascontiguousarray(values))


def _field(
    layout: Layout,
    name: str,
    planes: Mapping[str, Bytes],
    shape: tuple[int, ...],
    region: tuple[tuple[int, int], ...],
) -> FieldReading:
    field = layout.fields[name]
    overs = aligned(field.over, shape)
    codes = field_codes(layout, name, planes[field.plane], shape)
    cut = tuple(slice(a // o, -(-b // o)) for (a, b), o in zip(region, overs, strict=True))
    chosen = np.ascontiguousarray(codes[cut])
    spelled = numbers(chosen, field.element)
    return FieldReading(name, field.plane, field.element, overs, chosen, spelled)


def _records(
    layout: Layout,
    name: str,
    records: Bytes,
    shape: tuple[int, ...],
    start: tuple[int, ...],
    stop: tuple[int, ...],
) -> tuple[tuple[tuple[int, ...], bytes], ...]:
    plane = layout.planes[name]
    blocks = aligned(plane.block, shape)
    spans = [range(a // b, -(-z // b)) for a, z, b in zip(start, stop, blocks, strict=True)]
    fixed = len(shape) - len(plane.order or ())
    stored = (*range(fixed), *(fixed + axis for axis in plane.order or range(len(shape) - fixed)))
    found = []
    for place in product(*spans):
        grid_place = tuple(place[axis] for axis in stored)
        found.append((grid_place, records[grid_place].tobytes()))
    return tuple(found)


def formula_with(value: Expression, spelled: Mapping[str, str]) -> str:
    """The formula with each field's name replaced by the text of its number."""
    if isinstance(value, str):
        return spelled[value]
    if isinstance(value, float):
        return f"{value:g}"
    if value[0] == "lut":
        return f"{value[1]}[{spelled[str(value[2])]}]"
    left, right = (
        f"({text})" if isinstance(operand, tuple) and operand[0] in OPERATORS else text
        for operand in value[1:]
        for text in [formula_with(operand, spelled)]
    )
    return f"{left} {OPERATORS[str(value[0])]} {right}"


def byte_ranges(layout: Layout, plane: str) -> tuple[tuple[range, tuple[str, ...]], ...]:
    """The bytes of a record of `plane` in runs that hold bits of the same fields."""
    owners: list[set[str]] = [set() for _ in range(layout.planes[plane].bytes)]
    for name, field in layout.fields.items():
        if field.plane != plane:
            continue
        for run in (run for piece in field.pieces for run in piece):
            for start in run.starts():
                for byte in range(start // 8, (start + run.bits - 1) // 8 + 1):
                    owners[byte].add(name)
    ranges: list[tuple[range, tuple[str, ...]]] = []
    first = 0
    for byte in range(1, len(owners) + 1):
        if byte == len(owners) or owners[byte] != owners[first]:
            ranges.append(
                (range(first, byte), tuple(n for n in layout.fields if n in owners[first]))
            )
            first = byte
    return tuple(ranges)
