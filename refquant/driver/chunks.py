"""Chunks of work that fit the caches, and threads for them where they pay."""

import os
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Final

import numpy as np

__all__ = ["for_each", "rows_at_once", "settle_allocator", "thread_count"]

CHUNK_WEIGHTS: Final = 1 << 19
"""Weights treated at once: enough to make a chunk's fixed cost small, few enough for the caches."""

SETTLING_BYTES: Final = 31 << 20
"""Just below 32 MiB, the most that glibc's allocator adapts to."""

THREADING_WEIGHTS: Final = 1 << 20
"""Below this a thread costs more than it gives (about a millisecond of work)."""


def rows_at_once(shape: tuple[int, ...], unit: int) -> int:
    """How many rows of a tensor make a chunk: a multiple of `unit`, which must not be cut."""
    return max(CHUNK_WEIGHTS // max(prod(shape[1:]), 1) // unit, 1) * unit


def thread_count(threads: int | None, weights: int) -> int:
    """How many threads to use for `weights` weights: as asked, or as many as pay."""
    if threads is not None:
        return max(threads, 1)
    most = weights // THREADING_WEIGHTS
    return min(os.cpu_count() or 1, most) if most > 1 else 1


def for_each(work: Callable[[int], None], starts: range, threads: int) -> None:
    """Do the work at every start, by so many threads."""
    if threads == 1 or len(starts) == 1:
        for start in starts:
            work(start)
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - it is slow to import

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, starts):
            pass


@cache
def settle_allocator() -> None:
    """Ask once for much memory and give it back, untouched.

    After that glibc keeps the temporaries of chunks in its heap; before, it returns them to the
    system after every use, and paying for their pages again costs a decoder up to half of its
    time. Other allocators are not impressed.
    """
    np.empty(SETTLING_BYTES, np.uint8)
