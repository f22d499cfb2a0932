"""Fields out of records and into records: the declaration compiled to NumPy views and shifts.

Strides that are whole bytes become axes of a view; strides below a byte become shifts. Runs of
neighbouring bytes are moved as one item, so that a nibble field costs two shifts over contiguous
bytes and no gather. Unpacking and packing read the same table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Digits, Element, Field, Minifloat, Signed, Slice, Unsigned
from refquant.layout.scattered import pack_scattered, unpack_scattered

__all__ = ["code_dtype", "pack_field", "unpack_field"]

Bytes = NDArray[np.uint8]
Codes = NDArray[np.integer]

MOST_STEPS = 1024
"""Steps of a slice beyond which its bits are spread out instead."""


def code_dtype(element: Element) -> np.dtype[np.integer]:
    """The dtype of unpacked codes: integers by width, float bits as unsigned integers."""
    match element:
        case Signed(bits):
            return np.dtype(np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
        case Unsigned() | Minifloat():
            bits = element.bits
            return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
        case Digits():
            return np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Moves:
    """A slice as byte movements: which bytes of a record, then which shifts, fill which codes.

    `shape` and `strides` (in bytes) are the byte axes; `target` is the shape of all codes with
    the shift axes in place; each step is (first byte, shift, index into `target`).
    """

    bits: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    target: tuple[int, ...]
    steps: tuple[tuple[int, int, tuple[int | slice, ...]], ...]


def _split_axes(run: Slice) -> list[tuple[int, int]]:
    """Extents and strides of a slice; strides below a byte are split off at whole bytes."""
    axes: list[tuple[int, int]] = []
    for extent, stride in zip(run.shape, run.strides, strict=True):
        period = 8 // gcd(stride, 8)
        if period > 1 and extent % period == 0 and extent > period:
            axes += [(extent // period, stride * period), (period, stride)]
        else:
            axes.append((extent, stride))
    return axes


@lru_cache(maxsize=1024)
def is_scattered(run: Slice) -> bool:
    """Whether a slice would compile to more steps than are worth taking one by one."""
    return prod(extent for extent, stride in _split_axes(run) if stride % 8) > MOST_STEPS


@lru_cache(maxsize=1024)
def compile_slice(run: Slice) -> Moves:
    """The movements of a slice: a step for each place within a byte where runs begin."""
    axes = _split_axes(run)
    whole = [stride % 8 == 0 for _, stride in axes]
    steps = []
    ranges = [range(1) if w else range(n) for (n, _), w in zip(axes, whole, strict=True)]
    for index in product(*ranges):
        start = run.base + sum(i * s for i, (_, s) in zip(index, axes, strict=True))
        place = tuple(slice(None) if w else i for i, w in zip(index, whole, strict=True))
        steps.append((start // 8, start % 8, place))
    return Moves(
        run.bits,
        tuple(n for (n, _), w in zip(axes, whole, strict=True) if w),
        tuple(s // 8 for (_, s), w in zip(axes, whole, strict=True) if w),
        tuple(n for n, _ in axes),
        tuple(steps),
    )


def unpack_field(field: Field, records: Bytes) -> Codes:  # u8[r, bytes] -> code[r, count]
    """The codes of `field` in every record, in the field's own order."""
    pieces = [_unpack_piece(field, piece, records) for piece in field.pieces]
    if isinstance(field.element, Digits):
        pieces = [_digits(piece, field.element) for piece in pieces]
    codes = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
    if isinstance(field.element, Signed):
        return _sign_extend(codes, field.element.bits)
    return codes


def _unpack_piece(field: Field, piece: tuple[Slice, ...], records: Bytes) -> Codes:
    dtype = np.dtype(code_dtype(field.element).str.replace("i", "u"))
    codes = _unpack_slice(piece[0], records, dtype)
    low = piece[0].bits
    for run in piece[1:]:
        codes = codes | (_unpack_slice(run, records, dtype) << dtype.type(low))
        low += run.bits
    return codes


def _unpack_slice(run: Slice, records: Bytes, dtype: np.dtype[np.integer]) -> Codes:
    if run.bits == 1 and run.strides == (1,) and run.base % 8 == 0 and run.count % 8 == 0:
        packed = gather(records, run.base // 8, (run.count // 8,), (1,)).view(np.uint8)
        bits = np.unpackbits(packed.reshape(-1), bitorder="little").reshape(-1, run.count)
        return bits.astype(dtype, copy=False)
    if is_scattered(run):
        return unpack_scattered(run, records, dtype)
    moves = compile_slice(run)
    if moves.bits in (8, 16, 32) and all(shift == 0 for _, shift, _ in moves.steps):
        return _gather_whole(moves, records, dtype)
    out = np.empty((len(records), *moves.target), dtype)
    gathered: dict[int, Bytes] = {}
    for first, shift, place in moves.steps:
        width = (shift + moves.bits + 7) // 8
        for byte in range(first, first + width):
            if byte not in gathered:
                gathered[byte] = gather(records, byte, moves.shape, moves.strides)
        value = _shifted(
            [gathered[b] for b in range(first, first + width)], shift, moves.bits, dtype
        )
        _store(out, place, value)
    return out.reshape(len(records), run.count)


def _gather_whole(moves: Moves, records: Bytes, dtype: np.dtype[np.integer]) -> Codes:
    """Codes that are whole bytes at whole-byte places: one copy, no shift."""
    width = moves.bits // 8
    first, _, _ = moves.steps[0]
    packed = gather(records, first, (*moves.shape, width), (*moves.strides, 1))
    codes: Codes = packed.reshape(len(records), -1).view(f"<u{width}")
    return codes.astype(dtype, copy=False)


def gather(
    records: Bytes, first: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Bytes:  # u8[r, bytes] -> u8[r, *shape], contiguous
    """Bytes `first + i*s0 + j*s1 + ...` of every record; neighbours travel as one item."""
    return np.ascontiguousarray(as_items(window_of(records, first, shape, strides)))


def scatter(
    stored: Bytes, records: Bytes, first: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:  # u8[r, prod(shape)], u8[r, bytes]
    """Bytes back to where `gather` takes them from; places must not overlap."""
    window = window_of(records, first, shape, strides)
    as_items(window)[...] = as_items(stored.reshape(window.shape))


def window_of(
    records: Bytes, first: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Bytes:  # u8[r, bytes] -> u8[r, ..., run], a view
    """The bytes that a slice touches; axes that continue one another are merged into runs."""
    run = 1
    while shape and strides[-1] == run:
        run *= shape[-1]
        shape, strides = shape[:-1], strides[:-1]
    if not shape:
        return records[:, first : first + run]
    return np.lib.stride_tricks.as_strided(
        records[:, first:], (len(records), *shape, run), (records.strides[0], *strides, 1)
    )


def as_items(window: Bytes) -> NDArray[np.generic]:
    """The same bytes with the contiguous last axis read as one opaque item."""
    run = window.shape[-1]
    return window if run == 1 else window.view(f"V{run}")


def _shifted(parts: list[Bytes], shift: int, bits: int, dtype: np.dtype[np.integer]) -> Codes:
    """`bits` bits from bit `shift` of the little-endian number whose bytes are `parts`."""
    plain = [part.view(np.uint8) for part in parts]
    if len(plain) == 1:
        value = plain[0] >> np.uint8(shift) if shift else plain[0]
        if shift + bits < 8:
            value = value & np.uint8((1 << bits) - 1)
        return value.astype(dtype, copy=False)
    wide = np.zeros(plain[0].shape, np.uint64)
    for k, part in enumerate(plain):
        wide |= part.astype(np.uint64) << np.uint64(8 * k)
    return ((wide >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).astype(dtype)


def _store(out: Codes, place: tuple[int | slice, ...], value: Codes) -> None:
    target = out[(slice(None), *place)]
    value = value.reshape(target.shape)
    if target.ndim > 1 and target.strides[-1] == target.itemsize and target.shape[-1] > 1:
        width = target.shape[-1] * target.itemsize
        target.view(f"V{width}")[...] = np.ascontiguousarray(value).view(f"V{width}")
    else:
        target[...] = value


def _digits(stored: Codes, element: Digits) -> Codes:  # u8[r, n] -> u8[r, count * n]
    digits = []
    for k in range(element.count):
        power = np.uint8(element.base**k % 256)
        shifted = (stored.astype(np.uint8) * power).astype(np.uint16)
        digits.append((shifted * np.uint16(element.base) >> np.uint16(8)).astype(np.uint8))
    return np.concatenate(digits, axis=1)


def _sign_extend(codes: Codes, bits: int) -> Codes:
    signed: Codes = codes.view(codes.dtype.str.replace("u", "i"))
    if bits == 8 * codes.dtype.itemsize:
        return signed
    half = signed.dtype.type(1 << (bits - 1))
    extended: Codes = np.subtract(signed ^ half, half)
    return extended


def pack_field(field: Field, codes: Codes, records: Bytes) -> None:  # code[r, count], u8[r, bytes]
    """Add the codes of `field` to `records`, whose bits for this field must still be zero."""
    if isinstance(field.element, Digits):
        codes = _undigits(codes, field, field.element)
    unsigned = code_rows(codes)
    start = 0
    for piece in field.pieces:
        part = unsigned[:, start : start + piece[0].count]
        start += piece[0].count
        low = 0
        for run in piece:
            shifted = part >> unsigned.dtype.type(low) if low else part
            low += run.bits
            if is_scattered(run):
                pack_scattered(run, shifted, records)
            else:
                _pack_slice(run, shifted, records)


def _pack_slice(run: Slice, codes: Codes, records: Bytes) -> None:
    moves = compile_slice(run)
    first, shift, _ = moves.steps[0]
    if moves.bits == 8 * codes.itemsize and shift == 0 and len(moves.steps) == 1:
        stored = np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).view(np.uint8)
        shape, strides = (*moves.shape, codes.itemsize), (*moves.strides, 1)
        scatter(stored, records, first, shape, strides)
        return
    for byte, part, whole in _packed_bytes(moves, codes):
        if not whole:
            held = gather(records, byte, moves.shape, moves.strides).view(np.uint8)
            np.bitwise_or(part, held.reshape(part.shape), out=part)
        scatter(part, records, byte, moves.shape, moves.strides)


def _packed_bytes(moves: Moves, codes: Codes) -> Iterator[tuple[int, Bytes, bool]]:
    """First byte, the bytes of all records there, and whether the slice fills them."""
    grid = codes.reshape(len(codes), *moves.target)
    parts: dict[int, Bytes] = {}
    filled: dict[int, int] = {}
    for first, shift, place in moves.steps:
        value = _contiguous(grid[(slice(None), *place)])
        for k, piece in enumerate(_split(value, shift, moves.bits)):
            byte = first + k
            parts[byte] = parts[byte] | piece if byte in parts else piece
            mask = ((1 << moves.bits) - 1) << shift >> 8 * k & 255
            filled[byte] = filled.get(byte, 0) | mask
    for byte, part in parts.items():
        yield byte, part.reshape(len(codes), -1), filled[byte] == 255


def _split(value: Codes, shift: int, bits: int) -> list[Bytes]:
    """The bytes that hold `bits` bits of each code from bit `shift` on, in fresh memory."""
    width = (shift + bits + 7) // 8
    if width == 1:
        narrow = value.astype(np.uint8, copy=False)
        if shift + bits == 8:
            # NumPy shifts bytes to the left one by one, but multiplies many at once.
            return [narrow * np.uint8(1 << shift)]
        return [(narrow & np.uint8((1 << bits) - 1)) * np.uint8(1 << shift)]
    wide = _clipped(value.astype(np.uint64), bits) << np.uint64(shift)
    return [(wide >> np.uint64(8 * k)).astype(np.uint8) for k in range(width)]


def _contiguous(value: Codes) -> Codes:
    """A copy in C order; neighbours travel as one item."""
    if value.ndim < 2 or value.strides[-1] != value.itemsize or value.shape[-1] < 2:
        return np.ascontiguousarray(value)
    items = value.view(f"V{value.shape[-1] * value.itemsize}")
    return np.ascontiguousarray(items).view(value.dtype)


def code_rows(codes: Codes) -> Codes:  # code[r, n] -> unsigned code[r, n], contiguous
    """The codes in C order; a transpose takes four bytes at a time, which is faster by far."""
    count, dtype = codes.shape[1], np.dtype(f"u{codes.dtype.itemsize}")
    if codes.flags.c_contiguous or not codes.flags.f_contiguous or codes.itemsize > 1 or count % 4:
        return np.ascontiguousarray(codes).view(dtype)
    fours = codes.T.view(np.uint8).reshape(-1, 4, len(codes))
    words = fours[:, 0].astype(np.uint32)
    for k in range(1, 4):
        words |= fours[:, k].astype(np.uint32) << np.uint32(8 * k)
    return np.ascontiguousarray(words.T, "<u4").view(np.uint8)


def _clipped(codes: Codes, bits: int) -> Codes:
    if bits >= 8 * codes.dtype.itemsize:
        return codes
    return np.bitwise_and(codes, codes.dtype.type((1 << bits) - 1))


def _undigits(codes: Codes, field: Field, element: Digits) -> Codes:  # u8[r, n] -> u8[r, bytes]
    """The stored bytes of every piece in turn."""
    start, stored = 0, []
    for piece in field.pieces:
        stop = start + piece[0].count * element.count
        digits = codes[:, start:stop].reshape(len(codes), element.count, -1).astype(np.uint32)
        number = np.zeros((len(codes), piece[0].count), np.uint32)
        for k in range(element.count):
            number = number * np.uint32(element.base) + digits[:, k]
        whole = np.uint32(element.base**element.count)
        number = (number * np.uint32(256) + whole - np.uint32(1)) // whole
        stored.append(number.astype(np.uint8))
        start = stop
    return np.concatenate(stored, axis=1)


def is_integer(element: Element) -> bool:
    """Whether codes are numbers by themselves, rather than the bits of a float."""
    return isinstance(element, Unsigned | Signed | Digits)
