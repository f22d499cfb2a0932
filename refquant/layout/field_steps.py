"""The steps that unpack a field into an array of codes: bytes, shifts and masks, as in `records`.

A code's bits are masked where they stand and shifted once to where they belong in the code, so
that the slices of a code are joined by one `or` each. Bytes are multiplied where they would be
shifted to the left: NumPy shifts them one by one, but multiplies many at once.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Digits, Field, Signed, Slice
from refquant.layout.records import (
    Bytes,
    Codes,
    Moves,
    code_dtype,
    compile_slice,
    is_scattered,
    unpack_field,
)
from refquant.layout.steps import Array, Load, Steps

__all__ = ["add_field"]


def add_field(steps: Steps, field: Field, count: int) -> Codes:  # -> code[r, count]
    """The array that will hold the first `count` codes of `field` in every record."""
    dtype = code_dtype(field.element)
    codes = np.empty((steps.records[field.plane], count), dtype.str.replace("i", "u"))
    if count < field.count or not _is_plain(field):
        return _add_unpacked(steps, field, codes.view(dtype))
    start = 0
    for piece in field.pieces:
        part = codes[:, start : start + piece[0].count]
        start += piece[0].count
        _add_piece(steps, field.plane, piece, part)
    signed: Codes = codes.view(dtype)
    if isinstance(field.element, Signed) and field.element.bits < 8 * dtype.itemsize:
        half = dtype.type(1 << (field.element.bits - 1))
        steps.add(np.bitwise_xor, signed, half, signed)
        steps.add(np.subtract, signed, half, signed)
    return signed


def _is_plain(field: Field) -> bool:
    """Whether every code is whole bytes, or made of bits that do not cross from byte to byte."""
    runs = [run for piece in field.pieces for run in piece]
    if isinstance(field.element, Digits) or any(map(is_scattered, runs)):
        return False
    if all(map(_is_whole, runs)):
        return True
    crossing = (shift + run.bits > 8 for run in runs for _, shift, _ in compile_slice(run).steps)
    return code_dtype(field.element).itemsize == 1 and not any(crossing)


def _is_whole(run: Slice) -> bool:
    """Whether the codes of a slice are whole bytes at whole-byte places."""
    return run.bits in (8, 16, 32) and all(not shift for _, shift, _ in compile_slice(run).steps)


def _add_unpacked(steps: Steps, field: Field, codes: Codes) -> Codes:
    """Codes of any other kind, by the function that unpacks them all."""

    def copy(records: Array) -> None:
        codes[...] = unpack_field(field, records.view(np.uint8))[:, : codes.shape[1]]

    steps.loads.append(Load(field.plane, lambda records: records, copy))
    return codes


def _add_piece(steps: Steps, plane: str, piece: tuple[Slice, ...], codes: Codes) -> None:
    """Codes of one piece: those of several slices are joined in memory without gaps."""
    gapless = len(piece) == 1 or codes.flags.c_contiguous
    joined = codes if gapless else np.empty(codes.shape, codes.dtype)
    _add_slice(steps, plane, piece[0], 0, joined)
    low = piece[0].bits
    for run in piece[1:]:
        part = np.empty(codes.shape, codes.dtype)
        _add_slice(steps, plane, run, low, part)
        steps.add(np.bitwise_or, joined, part, joined)
        low += run.bits
    if joined is not codes:
        width = codes.shape[1] * codes.itemsize
        steps.add(np.copyto, codes.view(f"V{width}"), joined.view(f"V{width}"))


def _add_slice(steps: Steps, plane: str, run: Slice, low: int, part: Codes) -> None:
    """Codes of a slice, their lowest bit being bit `low` of the codes in `part`."""
    moves = compile_slice(run)
    if _is_whole(run):
        _add_whole(steps, plane, moves, part)
    elif run.bits == 1 and run.strides == (1,) and run.base % 8 == 0 and run.count % 8 == 0:
        packed = steps.bytes_of(plane, run.base // 8, (run.count // 8,), (1,))
        steps.add(_spread_bits, packed, np.uint8(1 << low), part)
    else:
        for first, shift, place in moves.steps:
            held = steps.bytes_of(plane, first, moves.shape, moves.strides)
            target = part.reshape(len(part), *moves.target)[(slice(None), *place)]
            _add_shifted(steps, held, (shift, low, run.bits), target.reshape(held.shape))


def _add_whole(steps: Steps, plane: str, moves: Moves, codes: Codes) -> None:
    width = codes.itemsize
    first, _, _ = moves.steps[0]
    shape, strides = (*moves.shape, width), (*moves.strides, 1)
    if codes.flags.c_contiguous and moves.bits == 8 * width:
        steps.load_bytes(plane, first, shape, strides, codes.view(np.uint8))
        return
    shape, strides = (*moves.shape, moves.bits // 8), (*moves.strides, 1)
    held = steps.bytes_of(plane, first, shape, strides)
    steps.add(np.copyto, codes, held.reshape(len(held), -1).view(f"<u{moves.bits // 8}"))


def _spread_bits(packed: Bytes, weight: np.uint8, codes: Codes) -> None:
    bits = np.unpackbits(packed.reshape(-1), bitorder="little")
    np.multiply(bits.reshape(codes.shape), weight, codes)


def _add_shifted(
    steps: Steps, held: Bytes, place: tuple[int, int, int], target: NDArray[np.integer]
) -> None:
    """Bits `shift` to `shift + bits` of every byte, moved to bit `low` and on."""
    shift, low, bits = place
    work: Codes = target
    run = target.shape[-1]
    scattered = not target.flags.c_contiguous
    if scattered:
        work = np.empty(held.shape, np.uint8)
    moved: Codes = held
    if shift > low:
        steps.add(np.right_shift, held, np.uint8(shift - low), work)
        moved = work
    elif shift < low:
        steps.add(np.multiply, held, np.uint8(1 << (low - shift)), work)
        moved = work
    if moved is held or low or shift + bits < 8:
        steps.add(np.bitwise_and, moved, np.uint8((1 << bits) - 1 << low), work)
    if scattered and target.strides[-1] == 1 and run > 1:
        steps.add(np.copyto, target.view(f"V{run}"), work.view(f"V{run}"))
    elif scattered:
        steps.add(np.copyto, target, work)
