"""From weights to packed planes: checked, brought into groups, encoded and packed by chunks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from refquant.driver.chunks import for_each, rows_at_once, settle_allocator, thread_count
from refquant.driver.groups import grouped, ungrouped
from refquant.driver.scheme import Scheme
from refquant.errors import SchemeError
from refquant.layout import Layout, pack_codes
from refquant.layout.layout import aligned
from refquant.layout.tiles import flat_shape, row_unit, tile_planes

__all__ = ["encode_planes"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]


def encode_planes(
    scheme: Scheme,
    x: F32,
    axis: int = -1,
    threads: int | None = None,
    importance: F32 | None = None,
) -> dict[str, Bytes]:  # f32[*shape], f32[shape[axis]] -> u8[*grid, bytes] per plane
    """The packed planes of `x`: groups are formed along `axis`, encoded and packed by chunks.

    With `importance`, one number for each weight along `axis`, the scheme's weighted encoder
    sees whole rows.
    """
    if scheme.operators:
        return _encode_through_operators(scheme, x, axis, threads, importance)
    settle_allocator()
    encode = _tile_encoder(scheme, x.shape, axis, importance)
    ruled = scheme.non_finite and importance is None
    if not ruled:
        _refuse_non_finite(scheme, x)
    moved = np.moveaxis(x, axis, -1)
    layout = scheme.layout
    flat = flat_shape(layout, moved.shape) if layout.active_axes == 1 else moved.shape
    if importance is not None:
        flat = (prod(moved.shape[:-1]), moved.shape[-1])
    weights = moved.reshape(flat)
    records = {
        name: np.zeros((*layout.grid(name, flat), plane.bytes), np.uint8)
        for name, plane in layout.planes.items()
    }
    unit = lcm(row_unit(layout, flat), aligned(scheme.group, flat)[0])
    step = flat[0] if scheme.whole else rows_at_once(flat, unit)

    def work(start: int) -> None:
        stop = min(start + step, flat[0])
        tile = tile_planes(layout, records, flat, start, stop)
        _encode_tile(scheme, encode, weights[start:stop], tile)

    for_each(work, range(0, flat[0], step), thread_count(threads, x.size))
    return {
        name: _turned_back(records[name], layout.grid(name, moved.shape), axis, x.ndim)
        for name in layout.planes
    }


def _refuse_non_finite(scheme: Scheme, x: F32) -> None:
    if not np.isfinite(x).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise SchemeError(
            f"weight {list(first)} is {x[first]}; the scheme has no rule for it", scheme=scheme.name
        )


def _tile_encoder(
    scheme: Scheme, shape: tuple[int, ...], axis: int, importance: F32 | None
) -> Callable[[F32], Mapping[str, NDArray[np.integer]]]:
    """What chooses the codes of a tile; `SchemeError` where the scheme cannot, or not so."""
    reason = scheme.why_not(shape, axis)
    encode, weighted = scheme.encode, scheme.encode_weighted
    if reason or encode is None:
        raise SchemeError(reason or "cannot encode", scheme=scheme.name)
    if importance is None:
        return lambda tile: encode(grouped(tile, aligned(scheme.group, tile.shape)))
    if weighted is None:
        raise SchemeError(
            "its encoder makes no use of importance; leave it out", scheme=scheme.name
        )
    if importance.shape != (shape[axis],):
        raise SchemeError(
            f"importance has shape {list(importance.shape)}, expected [{shape[axis]}]: one number "
            f"for each weight along axis {axis}",
            scheme=scheme.name,
        )
    if not (np.isfinite(importance) & (importance >= 0)).all():
        raise SchemeError("importance must be finite and not negative", scheme=scheme.name)
    return lambda tile: weighted(tile, importance)


def _turned_back(records: Bytes, grid: tuple[int, ...], axis: int, rank: int) -> Bytes:
    """Records of the moved tensor in the grid order of the tensor as it was."""
    arranged = records.reshape(*grid, records.shape[-1])
    return np.ascontiguousarray(np.moveaxis(arranged, rank - 1, axis % rank))


def _encode_tile(
    scheme: Scheme,
    encode: Callable[[F32], Mapping[str, NDArray[np.integer]]],
    x: F32,
    planes: Mapping[str, Bytes],
) -> None:
    sizes = aligned(scheme.group, x.shape)
    with np.errstate(all="ignore"):
        codes = encode(x)
    for name, field in scheme.layout.fields.items():
        overs = aligned(field.over, x.shape)
        whole = ungrouped(codes[name], sizes, overs, x.shape)
        pack_codes(scheme.layout, name, whole, planes[field.plane], x.shape)


def _encode_through_operators(
    scheme: Scheme, x: F32, axis: int, threads: int | None, importance: F32 | None
) -> dict[str, Bytes]:  # f32[*shape], f32[shape[axis]] -> u8[*stored] per plane
    if reason := scheme.why_not(x.shape, axis):
        raise SchemeError(reason, scheme=scheme.name)
    _refuse_non_finite(scheme, x)
    first, *others = scheme.operators
    below = replace(scheme, operators=tuple(others))
    return first.encode(_Below(below, threads), x, importance)


@dataclass(frozen=True)
class _Below:
    """A scheme without its first operator, as the operator sees it."""

    scheme: Scheme
    threads: int | None

    @property
    def layout(self) -> Layout:
        return self.scheme.layout

    def planes(self, x: F32, importance: F32 | None = None) -> dict[str, Bytes]:
        return encode_planes(self.scheme, x, -1, self.threads, importance)

    def codes(self, groups: F32) -> Mapping[str, NDArray[np.integer]]:
        if self.scheme.encode is None:
            raise SchemeError("this scheme can be decoded only", scheme=self.scheme.name)
        with np.errstate(all="ignore"):
            return self.scheme.encode(groups)
