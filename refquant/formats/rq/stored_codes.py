"""Codes that no writer makes, in planes as they are stored, with operators before them or not.

Where operators stand before a layout there are two more laws: an index names groups that exist, and
what fills up the parts of a matrix is 0.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.formats.rq import codes
from refquant.layout import Layout, unpack_field
from refquant.layout.layout import aligned
from refquant.schemes.interleaved import Interleaved
from refquant.schemes.level2 import Gathered, WordRows
from refquant.schemes.storage import AnyLayout, StoredLayout

__all__ = ["check_codes", "checked_codes", "has_laws"]

Bytes = NDArray[np.uint8]
Shape = tuple[int, ...]


def has_laws(layout: AnyLayout, plane: str, shape: Shape) -> bool:
    """Whether some bytes are not allowed in this plane of a tensor of `shape`."""
    if isinstance(layout, Layout):
        return codes.has_laws(layout, plane, shape)
    if plane == layout.index or _filled_rows(layout, shape):
        return True
    return codes.has_laws(layout.inner, plane, layout.inner_shape(shape))


def check_codes(layout: AnyLayout, plane: str, shape: Shape, data: Bytes, where: str) -> None:
    """Refuse a whole plane's bytes that no writer makes."""
    if isinstance(layout, Layout):
        codes.check_codes(layout, plane, shape, data, where)
    elif plane == layout.index:
        _check_index(layout, shape, data, where)
    elif has_laws(layout, plane, shape):
        joined = _joined(layout, plane, shape, data)
        codes.check_codes(layout.inner, plane, layout.inner_shape(shape), joined, where)
        if _filled_rows(layout, shape):
            _check_filled(layout, plane, shape, joined, where)


def checked_codes(
    layout: AnyLayout,
    plane: str,
    shape: Shape,
    pieces: Iterator[bytes | memoryview],
    where: str,
) -> Iterator[bytes | memoryview]:
    """The pieces of a plane as they come, checked by the time the last one has been taken.

    A plane behind operators that move its records is kept until then.
    """
    if isinstance(layout, Layout):
        yield from codes.checked_codes(layout, plane, shape, pieces, where)
    elif not has_laws(layout, plane, shape):
        yield from pieces
    elif not _needs_all(layout, plane, shape):
        inner = layout.inner_shape(shape)
        yield from codes.checked_codes(layout.inner, plane, inner, pieces, where)
    else:
        kept = bytearray()
        for piece in pieces:
            kept += piece
            yield piece
        check_codes(layout, plane, shape, np.frombuffer(kept, np.uint8), where)


def _needs_all(layout: StoredLayout, plane: str, shape: Shape) -> bool:
    is_split = any(isinstance(one, WordRows) and one.plane == plane for one in layout.operators)
    return is_split or plane == layout.index or _filled_rows(layout, shape) > 0


def _joined(layout: StoredLayout, plane: str, shape: Shape, data: Bytes) -> Bytes:
    """The bytes with the words of each record together."""
    for one in layout.operators:
        if isinstance(one, WordRows) and one.plane == plane:
            stored = data.reshape(layout.stored(plane, shape))
            return one.expand(layout.inner, {plane: stored}, shape)[1][plane].reshape(-1)
    return data


def _check_index(layout: StoredLayout, shape: Shape, data: Bytes, where: str) -> None:
    names = next(one.parameters for one in layout.operators if isinstance(one, Gathered))
    blocks = [aligned(layout.inner.planes[name].block, shape)[-1] for name in names]
    groups = -(-shape[-1] // max(blocks))
    index = np.ascontiguousarray(data).view("<i4").reshape(-1)
    wrong = np.flatnonzero((index < 0) | (index >= groups))
    if wrong.size:
        message = f"input {wrong[0]} names group {index[wrong[0]]} of {groups}"
        raise FormatError("E_CODE_INDEX", message, where=where)


def _filled_rows(layout: StoredLayout, shape: Shape) -> int:
    """How many rows of zeros make the parts of a matrix equal; few, less than there are parts."""
    for one in layout.operators:
        if isinstance(one, Interleaved):
            step, _, parts = one.inner_shape(shape)
            return step * parts - one.matrix(shape)[0]
    return 0


def _check_filled(layout: StoredLayout, plane: str, shape: Shape, data: Bytes, where: str) -> None:
    """Refuse codes of the rows that fill up, all of whose weights are in none of the tensor."""
    inner = layout.inner_shape(shape)
    step, _, parts = inner
    missing = _filled_rows(layout, shape)
    rows = step * parts - missing
    declared = layout.inner.planes[plane]
    order = declared.order or ()
    axes = [*range(3 - len(order)), *(3 - len(order) + axis for axis in order)]
    blocks, records = aligned(declared.block, inner), data.reshape(-1, declared.bytes)
    places = np.unravel_index(np.arange(len(records)), layout.inner.grid(plane, inner))
    first_row = places[axes.index(0)] * blocks[0]
    first_part = places[axes.index(2)] * blocks[2]
    near = np.flatnonzero(first_row + blocks[0] > max(step - missing, 0))
    for field in layout.fields.values():
        if field.plane != plane:
            continue
        overs = aligned(field.over, inner)
        shares = [block // over for block, over in zip(blocks, overs, strict=True)]
        inside = np.unravel_index(np.arange(int(np.prod(shares))), shares)
        row = first_row[near, None] + inside[0] * overs[0]
        part = first_part[near, None] + inside[2] * overs[2]
        found = unpack_field(field, np.ascontiguousarray(records[near]))[:, : row.shape[1]]
        # Rows of a code's weights increase, so with its first one all are beyond the last.
        if found[part * step + row >= rows].any():
            raise FormatError("E_CODE_EDGE", "a code of no weight is not 0", where=where)
