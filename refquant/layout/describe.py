"""Layouts as plain data and back.

The data are what RQ-MP1 can write: maps with sorted ASCII keys, integers, strings, bytes. `parse`
checks types and ranges of every part; the rules between the parts stand in `rules`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import (
    Digits,
    Element,
    Field,
    Minifloat,
    Plane,
    Signed,
    Slice,
    Unsigned,
)
from refquant.layout.expression import OPERATORS, Expression
from refquant.layout.rules import (
    MOST_AXES,
    MOST_DEPTH,
    MOST_EXTENT,
    MOST_FIELDS,
    MOST_PIECES,
    MOST_PLANES,
    MOST_RECORD_BYTES,
    MOST_SLICES,
    MOST_TABLE,
    fail,
)

__all__ = ["describe", "parse"]

VERSION = 1

Parts = tuple[dict[str, Plane], dict[str, Field], Expression, dict[str, NDArray[np.float32]]]


def describe(
    planes: Mapping[str, Plane],
    fields: Mapping[str, Field],
    tables: Mapping[str, NDArray[np.float32]],
    value: Expression,
) -> dict[str, object]:
    """The declaration as plain data."""
    data: dict[str, object] = {
        "rqd": VERSION,
        "planes": {name: _describe_plane(plane) for name, plane in planes.items()},
        "fields": {name: _describe_field(field) for name, field in fields.items()},
        "value": _describe_expression(value),
    }
    if tables:
        data["tables"] = {name: table.astype("<f4").tobytes() for name, table in tables.items()}
    return data


def _describe_plane(plane: Plane) -> dict[str, object]:
    data: dict[str, object] = {"block": list(plane.block), "bytes": plane.bytes}
    return data if plane.order is None else data | {"order": list(plane.order)}


def _describe_field(field: Field) -> dict[str, object]:
    return {
        "plane": field.plane,
        "elem": _describe_element(field.element),
        "over": list(field.over),
        "at": [
            [[run.bits, run.base, list(run.shape), list(run.strides)] for run in piece]
            for piece in field.pieces
        ],
    }


def _describe_element(element: Element) -> dict[str, object]:
    match element:
        case Unsigned(bits):
            return {"k": "u", "b": bits}
        case Signed(bits):
            return {"k": "i", "b": bits}
        case Digits(base, count):
            return {"k": "d", "base": base, "n": count}
        case Minifloat(sign, exponent, mantissa, bias, specials):
            return {"k": "f", "s": sign, "e": exponent, "m": mantissa, "bias": bias, "sp": specials}


def _describe_expression(value: Expression) -> object:
    return [_describe_expression(v) for v in value] if isinstance(value, tuple) else value


def parse(description: object, where: str) -> Parts:
    """Planes, fields, formula and tables of a description, each of the right type and in range."""
    data = _map(description, where, ("rqd", "planes", "fields", "value"), ("tables",))
    if type(data["rqd"]) is not int or data["rqd"] != VERSION:
        message = f"descriptor version {data['rqd']!r}, expected {VERSION}"
        raise fail("E_DESC_VERSION", message, where)
    planes = {
        name: _parse_plane(plane, f"{where}.planes.{name}")
        for name, plane in _named(data["planes"], f"{where}.planes", MOST_PLANES).items()
    }
    fields = {
        name: _parse_field(field, f"{where}.fields.{name}")
        for name, field in _named(data["fields"], f"{where}.fields", MOST_FIELDS).items()
    }
    tables = {
        name: _parse_table(table, f"{where}.tables.{name}")
        for name, table in _tables(data, where).items()
    }
    return planes, fields, _parse_expression(data["value"], f"{where}.value"), tables


def _map(
    data: object, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    if not isinstance(data, dict):
        raise fail("E_SCHEMA_TYPE", f"found {type(data).__name__}, expected a map", where)
    for key in required:
        if key not in data:
            raise fail("E_SCHEMA_MISSING", f"key {key!r} is missing", where)
    for key in data:
        if key not in required and key not in optional:
            raise fail("E_SCHEMA_UNKNOWN", f"unknown key {key!r}", where)
    return data


def _named(data: object, where: str, most: int) -> dict[str, object]:
    if not isinstance(data, dict):
        raise fail("E_SCHEMA_TYPE", f"found {type(data).__name__}, expected a map", where)
    if not data:
        raise fail("E_SCHEMA_EMPTY", "expected at least one entry", where)
    if len(data) > most:
        raise fail("E_LIMIT", f"{len(data)} entries, at most {most} are allowed", where)
    return data


def _tables(data: dict[str, object], where: str) -> dict[str, object]:
    if "tables" not in data:
        return {}
    return _named(data["tables"], f"{where}.tables", MOST_PLANES)


def _integers(data: object, where: str, most: int, low: int, high: int) -> tuple[int, ...]:
    if not isinstance(data, list) or any(type(n) is not int for n in data):
        raise fail("E_SCHEMA_TYPE", "expected a list of integers", where)
    if len(data) > most or any(not low <= n <= high for n in data):
        raise fail(
            "E_DESC_BLOCK", f"{data!r}: expected at most {most} numbers in {low}..{high}", where
        )
    return tuple(data)


def _parse_plane(data: object, where: str) -> Plane:
    entries = _map(data, where, ("block", "bytes"), ("order",))
    block = _integers(entries["block"], f"{where}.block", MOST_AXES, 0, MOST_EXTENT)
    size = entries["bytes"]
    if type(size) is not int:
        raise fail("E_SCHEMA_TYPE", "expected an integer", f"{where}.bytes")
    order = entries.get("order")
    permutation = (
        None if order is None else _integers(order, f"{where}.order", MOST_AXES, 0, MOST_AXES)
    )
    return Plane(block, size, permutation)


def _parse_field(data: object, where: str) -> Field:
    entries = _map(data, where, ("plane", "elem", "over", "at"))
    if not isinstance(entries["plane"], str) or not isinstance(entries["at"], list):
        raise fail("E_SCHEMA_TYPE", "expected a plane's name and a list of pieces", where)
    element = _parse_element(entries["elem"], f"{where}.elem")
    over = _integers(entries["over"], f"{where}.over", MOST_AXES, 0, MOST_EXTENT)
    pieces = entries["at"]
    if not 1 <= len(pieces) <= MOST_PIECES:
        raise fail("E_LIMIT", f"{len(pieces)} pieces, expected 1..{MOST_PIECES}", f"{where}.at")
    return Field(
        entries["plane"],
        element,
        over,
        tuple(_parse_piece(piece, f"{where}.at[{i}]") for i, piece in enumerate(pieces)),
    )


def _parse_piece(data: object, where: str) -> tuple[Slice, ...]:
    if not isinstance(data, list) or not 1 <= len(data) <= MOST_SLICES:
        raise fail("E_SCHEMA_TYPE", f"expected a list of 1..{MOST_SLICES} slices", where)
    return tuple(_parse_slice(run, f"{where}[{i}]") for i, run in enumerate(data))


def _parse_slice(data: object, where: str) -> Slice:
    if not isinstance(data, list) or len(data) != 4:
        raise fail("E_SCHEMA_TYPE", "expected [bits, base, shape, strides]", where)
    bits, base, shape, strides = data
    most = MOST_RECORD_BYTES * 8
    (bits,) = _integers([bits], where, 1, 1, 32)
    (base,) = _integers([base], where, 1, 0, most)
    extents = _integers(shape, where, MOST_AXES, 1, most)
    steps = _integers(strides, where, MOST_AXES, 0, most)
    if len(extents) != len(steps):
        raise fail("E_DESC_SLICE", "shape and strides differ in length", where)
    return Slice(bits, base, extents, steps)


def _parse_element(data: object, where: str) -> Element:
    if not isinstance(data, dict):
        raise fail("E_SCHEMA_TYPE", "expected a map", where)
    keys = {"u": ("b",), "i": ("b",), "d": ("base", "n"), "f": ("s", "e", "m", "bias", "sp")}
    kind = data.get("k")
    if not isinstance(kind, str) or kind not in keys:
        raise fail("E_DESC_ELEM", f"unknown element kind {kind!r}", where)
    entries = _map(data, where, ("k", *keys[kind]))
    numbers = {k: v for k, v in entries.items() if k not in ("k", "sp")}
    if any(type(n) is not int for n in numbers.values()):
        raise fail("E_SCHEMA_TYPE", "expected integers", where)
    n = {k: v for k, v in numbers.items() if isinstance(v, int)}
    if kind == "f":
        specials = entries["sp"]
        if specials not in ("ieee", "fn", "fnuz", "none", "e8m0"):
            raise fail("E_DESC_ELEM", f"unknown specials {specials!r}", where)
        return Minifloat(n["s"], n["e"], n["m"], n["bias"], specials)
    if kind == "d":
        return Digits(n["base"], n["n"])
    return Unsigned(n["b"]) if kind == "u" else Signed(n["b"])


def _parse_table(data: object, where: str) -> NDArray[np.float32]:
    if not isinstance(data, bytes):
        raise fail("E_SCHEMA_TYPE", "expected bytes", where)
    if len(data) % 4 or not 4 <= len(data) <= 4 * MOST_TABLE:
        raise fail("E_DESC_TABLE", f"{len(data)} bytes are no table of binary32", where)
    return np.frombuffer(data, "<f4").astype(np.float32)


def _parse_expression(data: object, where: str, level: int = 1) -> Expression:
    if level > MOST_DEPTH:
        raise fail("E_DESC_EXPR", f"formula deeper than {MOST_DEPTH}", where)
    if isinstance(data, str | float):
        return data
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise fail("E_DESC_EXPR", "expected a name, a float or [operator, ...]", where)
    if data[0] not in OPERATORS and data[0] != "lut":
        raise fail("E_DESC_OP", f"unknown operator {data[0]!r}", where)
    if len(data) != 3:
        raise fail("E_DESC_EXPR", f"{data[0]} takes 2 operands, found {len(data) - 1}", where)
    if data[0] == "lut" and not (isinstance(data[1], str) and isinstance(data[2], str)):
        raise fail("E_DESC_EXPR", "lut takes a table's name and a field's name", where)
    operands = (_parse_expression(v, f"{where}[{i}]", level + 1) for i, v in enumerate(data[1:], 1))
    return (data[0], *operands)
