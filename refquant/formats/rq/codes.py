"""Codes that no writer makes: spare bits set, bytes that are no digits, codes of no weight not 0.

Most layouts have neither spare bits nor digits, most tensors no ragged edge: their planes are not
looked at.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.formats.rq.edges import check_edges, has_edges
from refquant.layout import Digits, Layout, Unsigned, unpack_field

__all__ = ["check_codes", "checked_codes", "has_laws"]

Bytes = NDArray[np.uint8]

_CHUNK = 1 << 18
"""Records' bytes that are looked at together."""

_ORDER = ("E_CODE_PAD", "E_CODE_DIGIT", "E_CODE_EDGE")


@lru_cache(maxsize=256)
def _spare_bits(layout: Layout, plane: str) -> Bytes | None:
    """The mask of one record's spare bits, None if there are none."""
    mask = layout.spare_bits(plane)
    return mask if mask.any() else None


def _digit_fields(layout: Layout, plane: str) -> list[str]:
    """The fields of a plane whose elements are digits and do not use every byte."""
    return [
        name
        for name, field in layout.fields.items()
        if field.plane == plane
        and isinstance(field.element, Digits)
        and field.element.base**field.element.count < 256
    ]


def has_laws(layout: Layout, plane: str, shape: tuple[int, ...]) -> bool:
    """Whether some bytes are not allowed in this plane of a tensor of `shape`."""
    within = _spare_bits(layout, plane) is not None or bool(_digit_fields(layout, plane))
    return within or has_edges(layout, plane, shape)


def check_codes(
    layout: Layout, plane: str, shape: tuple[int, ...], data: Bytes, where: str, first: int = 0
) -> None:
    """Refuse a plane's bytes, from record `first` on, that no writer makes."""
    if not has_laws(layout, plane, shape):
        return
    size = layout.planes[plane].bytes
    records = data.reshape(-1, size)
    step = max(_CHUNK // size, 1)
    mask = _spare_bits(layout, plane)
    if mask is not None:
        for start in range(0, len(records), step):
            if (records[start : start + step] & mask).any():
                raise FormatError("E_CODE_PAD", "a bit of no field is set", where=where)
    for name in _digit_fields(layout, plane):
        for start in range(0, len(records), step):
            _check_digits(layout, name, records[start : start + step], where)
    check_edges(layout, plane, records, shape, where, first)


def checked_codes(
    layout: Layout,
    plane: str,
    shape: tuple[int, ...],
    pieces: Iterator[bytes | memoryview],
    where: str,
) -> Iterator[bytes | memoryview]:
    """The pieces of a plane as they come, each record in them checked before it is passed on.

    A record that two pieces share is checked once the second is there.
    """
    if not has_laws(layout, plane, shape):
        yield from pieces
        return
    size = layout.planes[plane].bytes
    rest, first = b"", 0
    wrong: FormatError | None = None
    for piece in pieces:
        data = np.frombuffer(rest + bytes(piece) if rest else piece, np.uint8)
        whole = len(data) // size * size
        try:
            check_codes(layout, plane, shape, data[:whole], where, first)
        except FormatError as error:
            # Spare bits come before digits and those before edges, wherever in the plane they are.
            if error.code == _ORDER[0]:
                raise
            if wrong is None or _ORDER.index(error.code) < _ORDER.index(wrong.code):
                wrong = error
        first += whole // size
        rest = data[whole:].tobytes()
        yield piece
    if wrong is not None:
        raise wrong


def _check_digits(layout: Layout, name: str, records: Bytes, where: str) -> None:
    field = layout.fields[name]
    element = field.element
    if not isinstance(element, Digits):
        return
    # Read as plain bytes, before they are taken apart into digits.
    stored = unpack_field(replace(field, element=Unsigned(8)), records)
    whole = element.base**element.count
    allowed = np.zeros(256, np.bool_)
    allowed[-(-np.arange(whole) * 256 // whole)] = True
    if not allowed[stored].all():
        message = f"a byte is not {element.count} digits of base {element.base}"
        raise FormatError("E_CODE_DIGIT", message, where=where)
