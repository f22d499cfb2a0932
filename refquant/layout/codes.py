"""The codes of a field in the order of the tensor, out of its records and back into them."""

from functools import lru_cache
from math import prod

import numpy as np

from refquant.layout.layout import Layout, aligned
from refquant.layout.records import Bytes, Codes, pack_field, unpack_field

__all__ = ["field_codes", "pack_codes"]


def field_codes(
    layout: Layout, name: str, records: Bytes, shape: tuple[int, ...]
) -> Codes:  # u8[*grid, bytes] -> code[*ceil(shape / over)]
    """The codes of one field for a tensor of `shape`, one for every `over` weights."""
    field = layout.fields[name]
    plane = layout.planes[field.plane]
    codes = unpack_field(field, records.reshape(-1, plane.bytes))
    grid, inner, counts = _geometry(plane.block, field.over, shape)
    return _to_tensor(codes[:, : prod(inner)], grid, inner, counts, plane.order)


@lru_cache(maxsize=1024)
def _geometry(
    block: tuple[int, ...], over: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Along each axis: records, codes of one record, and codes of the tensor."""
    blocks, overs = aligned(block, shape), aligned(over, shape)
    return (
        tuple(-(-n // b) for n, b in zip(shape, blocks, strict=True)),
        tuple(b // o for b, o in zip(blocks, overs, strict=True)),
        tuple(-(-n // o) for n, o in zip(shape, overs, strict=True)),
    )


def _to_tensor(
    codes: Codes,
    grid: tuple[int, ...],
    inner: tuple[int, ...],
    counts: tuple[int, ...],
    order: tuple[int, ...] | None,
) -> Codes:
    if _along_last_axis(inner, order):
        whole = codes.reshape(*grid[:-1], grid[-1] * inner[-1])
    else:
        stored = _unordered(codes, grid, inner, order)
        pairs = tuple(axis for a in range(len(grid)) for axis in (a, len(grid) + a))
        whole = stored.transpose(pairs).reshape([g * i for g, i in zip(grid, inner, strict=True)])
    if whole.shape == counts:
        return whole
    return whole[tuple(slice(n) for n in counts)]


def _unordered(
    codes: Codes, grid: tuple[int, ...], inner: tuple[int, ...], order: tuple[int, ...] | None
) -> Codes:
    """Codes as [*grid, *inner] in the tensor's axis order, whatever the storage order."""
    rank = len(grid)
    fixed = rank - len(order or ())
    stored = (*range(fixed), *(fixed + axis for axis in order or ()))
    back = sorted(range(rank), key=stored.__getitem__)
    arranged = codes.reshape(*(grid[a] for a in stored), *inner)
    return arranged.transpose(*back, *range(rank, 2 * rank))


def pack_codes(
    layout: Layout, name: str, codes: Codes, records: Bytes, shape: tuple[int, ...]
) -> None:  # code[*ceil(shape / over)], u8[*grid, bytes]
    """Write one field's codes into records that are still zero there; the inverse of unpacking."""
    field = layout.fields[name]
    plane = layout.planes[field.plane]
    grid, inner, counts = _geometry(plane.block, field.over, shape)
    whole = tuple(g * i for g, i in zip(grid, inner, strict=True))
    if counts != whole:
        padded = np.zeros(whole, codes.dtype)
        padded[tuple(slice(n) for n in counts)] = codes
        codes = padded
    flat = _from_tensor(codes, grid, inner, plane.order).reshape(-1, prod(inner))
    if field.count > prod(inner):
        flat = np.pad(flat, ((0, 0), (0, field.count - prod(inner))))
    rows = records.reshape(-1, plane.bytes)
    pack_field(field, flat, rows)
    if not np.may_share_memory(rows, records):  # records of some rows in a plane stored by columns
        records[...] = rows.reshape(records.shape)


def _from_tensor(
    codes: Codes, grid: tuple[int, ...], inner: tuple[int, ...], order: tuple[int, ...] | None
) -> Codes:  # -> code[*grid in stored order, *inner]
    if _along_last_axis(inner, order):
        return codes
    rank = len(grid)
    cut = codes.reshape([n for g, i in zip(grid, inner, strict=True) for n in (g, i)])
    fixed = rank - len(order or ())
    stored = (*range(fixed), *(fixed + axis for axis in order or ()))
    return cut.transpose(*(2 * a for a in stored), *(2 * a + 1 for a in range(rank)))


def _along_last_axis(inner: tuple[int, ...], order: tuple[int, ...] | None) -> bool:
    """Whether the codes of the tensor, one after the other, are those of record after record."""
    return not order and inner[:-1] == (1,) * (len(inner) - 1)
