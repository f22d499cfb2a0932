"""Which bits of a record belong to which codes: bits of nobody, bits of two, codes of no weight."""

from collections.abc import Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Field, Plane, Slice
from refquant.layout.scattered import run_starts

__all__ = ["bits_of_codes", "claimed_bits", "codes_beyond", "shares_a_bit"]

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def _bits(starts: NDArray[np.int64], run: Slice) -> NDArray[np.int64]:
    return np.add.outer(starts, np.arange(run.bits)).reshape(-1)


def _runs(fields: Iterable[Field]) -> list[Slice]:
    return [run for field in fields for piece in field.pieces for run in piece]


def claimed_bits(fields: Iterable[Field], size: int) -> NDArray[np.int64]:
    """How many runs of a plane's fields hold each bit of a record of `size` bytes."""
    bits = [_bits(run_starts(run), run) for run in _runs(fields)]
    return np.bincount(np.concatenate(bits), minlength=8 * size)


def shares_a_bit(fields: Iterable[Field], size: int) -> bool:
    """Whether two runs of a plane's fields hold the same bit."""
    fields = list(fields)
    # More bits than the record has must meet, and are not laid out to see where.
    if sum(run.count * run.bits for run in _runs(fields)) > 8 * size:
        return True
    return bool(fields) and bool((claimed_bits(fields, size) > 1).any())


def codes_beyond(
    field: Field, blocks: tuple[int, ...], overs: tuple[int, ...], axis: int, rest: int
) -> Mask:  # bool[count]
    """Which codes stand for no weight where only `rest` weights along `axis` are in the tensor.

    `blocks` and `overs` have one extent for each axis of the tensor. Digits that no share of the
    record needs are among the codes, and are left to others.
    """
    inner = [block // over for block, over in zip(blocks, overs, strict=True)]
    outside = np.arange(inner[axis]) * overs[axis] >= rest
    around = (prod(inner[:axis]), inner[axis], prod(inner[axis + 1 :]))
    codes = np.broadcast_to(outside[:, None], around).reshape(-1)
    return np.pad(codes, (0, field.count - len(codes)))


def bits_of_codes(field: Field, plane: Plane, chosen: Mask) -> Bytes:  # bool[count] -> u8[bytes]
    """The bits of a record that hold the chosen codes of a field, which must not be digits."""
    mask = np.zeros(8 * plane.bytes, np.bool_)
    first = 0
    for piece in field.pieces:
        wanted = chosen[first : first + piece[0].count]
        first += piece[0].count
        for run in piece:
            mask[_bits(run_starts(run)[wanted], run)] = True
    return np.packbits(mask, bitorder="little")
