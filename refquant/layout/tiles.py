"""Tensors cut along their first axis: the unit of chunking, threading and row look-ups.

A plane whose blocks span the first axis is passed whole; every other plane is sliced where its
records begin, so a tile is a tensor like any other and shares the bytes it was cut from.
"""

from collections.abc import Mapping
from math import lcm, prod

from refquant.errors import SchemeError
from refquant.layout.declare import Plane
from refquant.layout.layout import Layout, aligned
from refquant.layout.records import Bytes

__all__ = ["flat_shape", "row_unit", "tile_planes"]


def row_unit(layout: Layout, shape: tuple[int, ...]) -> int:
    """Rows of the first axis at which every plane that is sliced begins a new record."""
    units = [1]
    for name, plane in layout.planes.items():
        block = aligned(plane.block, shape)[0]
        if block < shape[0]:
            units.append(block)
        elif _holds_rows(layout, name, shape):
            units.append(shape[0])
    return lcm(*units)


def _holds_rows(layout: Layout, plane: str, shape: tuple[int, ...]) -> bool:
    """Whether one record of `plane` holds several codes along the first axis of the tensor."""
    overs = (
        aligned(field.over, shape)[0] for field in layout.fields.values() if field.plane == plane
    )
    return any(over < shape[0] for over in overs)


def flat_shape(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The tensor's weights as [units, unit] where the layout runs along the last axis alone.

    Each unit holds whole records of every plane, so a small tile can be cut anywhere. Layouts
    over several axes, over a whole axis, or with a ragged last axis keep their shape.
    """
    extents = {extent for plane in layout.planes.values() for extent in plane.block}
    if layout.active_axes > 1 or 0 in extents:
        return shape
    unit = lcm(*extents)
    if unit == 1 or shape[-1] % unit:
        return shape if unit > 1 or len(shape) > 1 else (shape[0], 1)
    return (prod(shape) // unit, unit)


def tile_planes(
    layout: Layout,
    planes: Mapping[str, Bytes],
    shape: tuple[int, ...],
    start: int,
    stop: int,
) -> dict[str, Bytes]:
    """Views of the records that hold rows `start` to `stop` of the first axis."""
    tile = {}
    for name, plane in layout.planes.items():
        block = aligned(plane.block, shape)[0]
        shared = block >= shape[0]
        if start % block if not shared else start and _holds_rows(layout, name, shape):
            raise SchemeError(f"rows {start}..{stop} begin inside of plane {name!r}'s records")
        if shared:
            tile[name] = planes[name]
            continue
        if stop % block and stop != shape[0]:
            raise SchemeError(f"rows {start}..{stop} end inside of plane {name!r}'s records")
        cut = slice(start // block, -(-stop // block))
        tile[name] = planes[name][(slice(None),) * _stored_axis(plane, len(shape)) + (cut,)]
    return tile


def _stored_axis(plane: Plane, rank: int) -> int:
    """Where the tensor's first axis stands in the stored grid."""
    if plane.order is None or len(plane.order) < rank:
        return 0
    return plane.order.index(0)
