"""Typed steps into a decoded header: each returns what it was asked for or names the law broken.

RQ-MP1 keeps integers, floats and bools apart, so a type test is exact: `3.0` is no integer and
`true` is no 1.
"""

from typing import Final

from refquant.errors import FormatError
from refquant.formats.rq.limits import (
    MAX_DIMENSION,
    MAX_ELEMENTS,
    MAX_NAME_BYTES,
    MAX_RANK,
)

__all__ = [
    "boolean",
    "entries",
    "increasing",
    "integer",
    "integers",
    "items",
    "name",
    "shape",
    "text",
]

_CONTROLS: Final = frozenset(map(chr, [*range(0x20), 0x7F]))


def _wrong_type(value: object, expected: str, where: str) -> FormatError:
    found = _TYPES.get(type(value), type(value).__name__)
    return FormatError("E_SCHEMA_TYPE", f"found {found}, expected {expected}", where=where)


_TYPES: Final = {
    dict: "a map",
    list: "an array",
    str: "a string",
    bytes: "bytes",
    bool: "a bool",
    int: "an integer",
    float: "a float",
}


def entries(
    value: object,
    where: str,
    required: frozenset[str] = frozenset(),
    optional: frozenset[str] | None = None,
) -> dict[str, object]:
    """A map that has every required key, and no key outside both sets unless `optional` is None."""
    if not isinstance(value, dict):
        raise _wrong_type(value, "a map", where)
    if missing := required - value.keys():
        raise FormatError("E_SCHEMA_MISSING", f"key {min(missing)!r} is missing", where=where)
    if optional is not None and (unknown := value.keys() - required - optional):
        raise FormatError("E_SCHEMA_UNKNOWN", f"unknown key {min(unknown)!r}", where=where)
    return value


def items(value: object, where: str, most: int) -> list[object]:
    """An array of at most `most` values."""
    if not isinstance(value, list):
        raise _wrong_type(value, "an array", where)
    if len(value) > most:
        raise FormatError("E_LIMIT", f"{len(value)} entries, at most {most} may be", where=where)
    return value


def present(value: list[object], where: str) -> list[object]:
    """An optional array, which is left out when empty: one content has one spelling."""
    if not value:
        raise FormatError("E_SCHEMA_EMPTY", "an empty array here must be left out", where=where)
    return value


def text(value: object, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _wrong_type(value, "a string", where)
    return value


def boolean(value: object, where: str) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise _wrong_type(value, "a bool", where)
    return value


def integer(value: object, where: str) -> int:
    """An integer, and not a bool."""
    if type(value) is not int:
        raise _wrong_type(value, "an integer", where)
    return value


def integers(value: object, where: str, most: int) -> list[int]:
    """An array of at most `most` integers."""
    found: list[int] = []
    for i, item in enumerate(items(value, where, most)):
        # Where an item stands is only spelled out for one that is wrong: there are many.
        found.append(item if type(item) is int else integer(item, f"{where}[{i}]"))
    return found


def name(value: object, where: str) -> str:
    """A name: 1..512 bytes of UTF-8 without control characters."""
    found = text(value, where)
    size = len(found) if found.isascii() else len(found.encode("utf-8"))
    if not 1 <= size <= MAX_NAME_BYTES:
        message = f"a name of {size} bytes, expected 1..{MAX_NAME_BYTES}"
        raise FormatError("E_NAME", message, where=where)
    if not found.isprintable() and not _CONTROLS.isdisjoint(found):
        raise FormatError("E_NAME", f"control character in {found[:80]!r}", where=where)
    return found


def increasing(previous: str, following: str, where: str) -> None:
    """Refuse two equal names, and two in the wrong order of their UTF-8 bytes."""
    # Code points order as their UTF-8 bytes do, so Python's comparison is the right one.
    if following == previous:
        raise FormatError("E_DUP", f"{following[:80]!r} stands here twice", where=where)
    if following < previous:
        message = f"{following[:80]!r} follows {previous[:80]!r}; names must increase"
        raise FormatError("E_ORDER", message, where=where)


def shape(value: object, where: str) -> tuple[int, ...]:
    """1..8 dimensions of 1..2^40, at most 2^53 - 1 elements."""
    if not isinstance(value, list):
        raise _wrong_type(value, "an array", where)
    if not 1 <= len(value) <= MAX_RANK:
        message = f"{len(value)} dimensions, expected 1..{MAX_RANK}"
        raise FormatError("E_SHAPE", message, where=where)
    elements = 1
    for axis, size in enumerate(value):
        if type(size) is not int:
            raise _wrong_type(size, "an integer", f"{where}[{axis}]")
        if not 1 <= size <= MAX_DIMENSION:
            message = f"dimension {size}, expected 1..{MAX_DIMENSION}"
            raise FormatError("E_SHAPE", message, where=f"{where}[{axis}]")
        elements *= size
    if elements > MAX_ELEMENTS:
        message = f"{elements} elements, at most {MAX_ELEMENTS} may be"
        raise FormatError("E_SHAPE", message, where=where)
    return tuple(value)
