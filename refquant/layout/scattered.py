"""Slices whose runs begin at too many different places to be moved step by step.

No scheme has one, but a file may describe one: a stream of single bits of prime length would take
half a million steps. Here every bit of a record becomes a byte, and codes are picked from those.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Slice

__all__ = ["pack_scattered", "run_starts", "unpack_scattered"]

Bytes = NDArray[np.uint8]
Codes = NDArray[np.integer]

MOST_BITS = 1 << 24
"""Bits, and so bytes of memory, that are spread out at once."""


def run_starts(run: Slice) -> NDArray[np.int64]:
    """The first bit of every run of a slice, in their order."""
    starts = np.full(1, run.base, np.int64)
    for extent, stride in zip(run.shape, run.strides, strict=True):
        starts = (starts[:, None] + np.arange(extent, dtype=np.int64) * stride).reshape(-1)
    return starts


def _batches(records: Bytes) -> list[Bytes]:
    size = max(MOST_BITS // max(8 * records.shape[1], 1), 1)
    return [records[first : first + size] for first in range(0, len(records), size)]


def unpack_scattered(
    run: Slice, records: Bytes, dtype: np.dtype[np.integer]
) -> Codes:  # u8[r, bytes] -> code[r, count]
    """The codes of a slice of any shape."""
    starts, parts = run_starts(run), []
    for batch in _batches(records):
        bits = np.unpackbits(batch, axis=1, bitorder="little")
        codes = np.zeros((len(batch), run.count), dtype)
        for k in range(run.bits):
            codes |= bits[:, starts + k].astype(dtype) << dtype.type(k)
        parts.append(codes)
    return np.concatenate(parts) if parts else np.zeros((0, run.count), dtype)


def pack_scattered(
    run: Slice, codes: Codes, records: Bytes
) -> None:  # code[r, count], u8[r, bytes]
    """Add the codes of a slice of any shape to records that are still zero there."""
    starts, first = run_starts(run), 0
    for batch in _batches(records):
        bits = np.unpackbits(batch, axis=1, bitorder="little")
        part = codes[first : first + len(batch)]
        first += len(batch)
        for k in range(run.bits):
            bits[:, starts + k] |= (part >> part.dtype.type(k) & part.dtype.type(1)).astype(
                np.uint8
            )
        batch[...] = np.packbits(bits, axis=1, bitorder="little")
