"""From packed planes to values: by a compiled program where there is one, else chunk by chunk."""

from collections.abc import Mapping
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.driver.chunks import for_each, rows_at_once, settle_allocator, thread_count
from refquant.errors import LimitError
from refquant.layout import Layout, evaluate
from refquant.layout.program import compiled, has_program, is_faster
from refquant.layout.tiles import flat_shape, row_unit, tile_planes

__all__ = ["decode_planes"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]

TILE_WEIGHTS: Final = 1 << 19
"""Weights that a compiled decoder treats at once."""

PROGRAM_WEIGHTS: Final = 1 << 14
"""Below this a compiled decoder is not worth its memory."""


def _new_values(shape: tuple[int, ...]) -> F32:
    """Room for the values of a tensor, whose shape may come from a file of any origin."""
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError) as error:
        raise LimitError(
            f"decoding a tensor of shape {list(shape)} takes {4 * prod(shape)} bytes, more than "
            "this machine gives; decode some of its rows"
        ) from error


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
    settle_allocator()
    flat = flat_shape(layout, shape) if values.flags.c_contiguous else shape
    records = {
        name: planes[name].reshape(*layout.grid(name, flat), plane.bytes)
        for name, plane in layout.planes.items()
    }
    target = values.reshape(flat)
    step = rows_at_once(flat, row_unit(layout, flat))

    def work(start: int) -> None:
        stop = min(start + step, flat[0])
        tile = tile_planes(layout, records, flat, start, stop)
        evaluate(layout, tile, (stop - start, *flat[1:]), target[start:stop])

    for_each(work, range(0, flat[0], step), thread_count(threads, prod(shape)))
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
    for_each(work, range(apart), thread_count(threads, values.size))
    for tile in range(apart, tiles):
        work(tile)
