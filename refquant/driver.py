"""A scheme: a layout under a name that says whose contract it is, and how codes are chosen.

The driver here does once what every scheme needs: it checks shapes and dtypes, brings a tensor
into groups, cuts the work into chunks that fit the cache, spreads them over threads, and packs.
A scheme file only says what happens to `[groups, group size]` weights.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import cache, cached_property
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import LimitError, SchemeError
from refquant.layout import Layout, Plane, evaluate, pack_codes
from refquant.layout.layout import aligned
from refquant.layout.operators import Operator, stored_shapes
from refquant.layout.program import compiled, has_program, is_faster
from refquant.layout.tiles import flat_shape, row_unit, tile_planes

__all__ = [
    "Encoder",
    "Parameters",
    "Scheme",
    "WeightedEncoder",
    "decode_planes",
    "encode_planes",
]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]
Encoder = Callable[[F32], Mapping[str, NDArray[np.integer]]]
"""Weights in groups to the codes of each field: `f32[g, n] -> {field: code[g, n / over]}`."""

WeightedEncoder = Callable[[F32, F32], Mapping[str, NDArray[np.integer]]]
"""Rows and the importance of each of their columns to the codes of the rows' groups in turn:
`f32[rows, n], f32[n] -> {field: code[g, group / over]}`."""

Parameters = Mapping[str, str | int]

CHUNK_WEIGHTS = 1 << 19
"""Weights treated at once: enough to make a chunk's fixed cost small, few enough for the caches."""

TILE_WEIGHTS = 1 << 19
"""Weights that a compiled decoder treats at once."""

PROGRAM_WEIGHTS = 1 << 14
"""Below this a compiled decoder is not worth its memory."""

SETTLING_BYTES = 31 << 20
"""Just below 32 MiB, the most that glibc's allocator adapts to."""

THREADING_WEIGHTS = 1 << 20
"""Below this a thread costs more than it gives (about a millisecond of work)."""


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


def thread_count(threads: int | None, weights: int) -> int:
    """How many threads to use for `weights` weights: as asked, or as many as pay."""
    if threads is not None:
        return max(threads, 1)
    return min(os.cpu_count() or 1, max(weights // THREADING_WEIGHTS, 1))


def _for_each(work: Callable[[int], None], starts: range, threads: int) -> None:
    if threads == 1 or len(starts) == 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, starts):
            pass


def _new_values(shape: tuple[int, ...]) -> F32:
    """Room for the values of a tensor, whose shape may come from a file of any origin."""
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError) as error:
        raise LimitError(
            f"decoding a tensor of shape {list(shape)} takes {4 * prod(shape)} bytes, more than "
            "this machine gives; decode some of its rows"
        ) from error


@cache
def _settle_allocator() -> None:
    """Ask once for much memory and give it back, untouched.

    After that glibc keeps the temporaries of chunks in its heap; before, it returns them to the
    system after every use, and paying for their pages again costs a decoder up to half of its
    time. Other allocators are not impressed.
    """
    np.empty(SETTLING_BYTES, np.uint8)


def decode_planes(
    layout: Layout,
    planes: Mapping[str, Bytes],
    shape: tuple[int, ...],
    out: F32 | None = None,
    threads: int | None = None,
) -> F32:  # u8[*grid, bytes] per plane -> f32[*shape]
    """The values of a tensor, chunk by chunk; the result does not depend on chunks or threads."""
    values = _new_values(shape) if out is None else out
    if values.flags.c_contiguous and prod(shape) >= PROGRAM_WEIGHTS and is_faster(layout):
        width = flat_shape(layout, shape)[-1]
        if width <= TILE_WEIGHTS and has_program(layout, width):
            _run_program(layout, planes, values.reshape(-1, width), threads)
            return values
    _settle_allocator()
    flat = flat_shape(layout, shape) if values.flags.c_contiguous else shape
    records = {
        name: planes[name].reshape(*layout.grid(name, flat), plane.bytes)
        for name, plane in layout.planes.items()
    }
    target = values.reshape(flat)
    unit = row_unit(layout, flat)
    step = max(CHUNK_WEIGHTS // max(prod(flat[1:]), 1) // unit, 1) * unit

    def work(start: int) -> None:
        stop = min(start + step, flat[0])
        tile = tile_planes(layout, records, flat, start, stop)
        evaluate(layout, tile, (stop - start, *flat[1:]), target[start:stop])

    _for_each(work, range(0, flat[0], step), thread_count(threads, prod(shape)))
    return values


def _run_program(
    layout: Layout, planes: Mapping[str, Bytes], values: F32, threads: int | None
) -> None:  # u8[*grid, bytes] per plane, f32[rows, width]
    """Decode tiles of equal size; the last one begins early enough to be whole."""
    count, width = values.shape
    tiles = -(-count // max(TILE_WEIGHTS // width, 1))
    rows = -(-count // tiles)
    with compiled(layout, width, rows) as program:
        windows = program.windows(planes)

    def work(tile: int) -> None:
        start = min(tile * rows, count - rows)
        with compiled(layout, width, rows) as program:
            program.run(windows, start, values[start : start + rows])

    # A tile's values are room to compute in, so what overlaps another tile waits for it.
    apart = count // rows
    _for_each(work, range(apart), thread_count(threads, values.size))
    for tile in range(apart, tiles):
        work(tile)


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
    _settle_allocator()
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
    step = max(CHUNK_WEIGHTS // max(prod(flat[1:]), 1) // unit, 1) * unit
    if scheme.whole:
        step = flat[0]

    def work(start: int) -> None:
        stop = min(start + step, flat[0])
        tile = tile_planes(layout, records, flat, start, stop)
        _encode_tile(scheme, encode, weights[start:stop], tile)

    _for_each(work, range(0, flat[0], step), thread_count(threads, x.size))
    return {
        name: _turned_back(records[name], layout.grid(name, moved.shape), axis, x.ndim)
        for name in layout.planes
    }


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


def _encode_through_operators(
    scheme: Scheme, x: F32, axis: int, threads: int | None, importance: F32 | None
) -> dict[str, Bytes]:  # f32[*shape], f32[shape[axis]] -> u8[*stored] per plane
    if reason := scheme.why_not(x.shape, axis):
        raise SchemeError(reason, scheme=scheme.name)
    _refuse_non_finite(scheme, x)
    first, *others = scheme.operators
    below = replace(scheme, operators=tuple(others))
    return first.encode(_Below(below, threads), x, importance)


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


def grouped(x: F32, sizes: tuple[int, ...]) -> F32:  # f32[*shape] -> f32[g, n]
    """The weights as one row for each group, ragged edges filled with zeros."""
    counts = tuple(-(-n // size) for n, size in zip(x.shape, sizes, strict=True))
    padded = tuple(c * s for c, s in zip(counts, sizes, strict=True))
    if padded != x.shape:
        filled = np.zeros(padded, np.float32)
        filled[tuple(slice(n) for n in x.shape)] = x
        x = filled
    rank = x.ndim
    cut = x.reshape([n for pair in zip(counts, sizes, strict=True) for n in pair])
    turned = cut.transpose(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    return np.ascontiguousarray(turned.reshape(prod(counts), prod(sizes)))


def ungrouped(
    codes: NDArray[np.integer],
    sizes: tuple[int, ...],
    overs: tuple[int, ...],
    shape: tuple[int, ...],
) -> NDArray[np.integer]:  # code[g, n / over] -> code[*ceil(shape / over)]
    """The codes of all groups in the tensor's own order, ragged edges cut off."""
    counts = tuple(-(-n // size) for n, size in zip(shape, sizes, strict=True))
    inner = tuple(-(-size // over) for size, over in zip(sizes, overs, strict=True))
    joined = [c * i for c, i in zip(counts, inner, strict=True)]
    if sizes[:-1] == (1,) * (len(sizes) - 1):
        whole = codes.reshape(joined)
    else:
        pairs = tuple(axis for a in range(len(shape)) for axis in (a, len(shape) + a))
        whole = codes.reshape(*counts, *inner).transpose(pairs).reshape(joined)
    return whole[tuple(slice(-(-n // over)) for n, over in zip(shape, overs, strict=True))]
