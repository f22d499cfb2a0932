"""Layouts as plain data and back, with every static rule that makes decoding total.

The data are what RQ-MP1 can write: maps with sorted ASCII keys, integers, strings, bytes. A
description that passes `parse` cannot make the decoder read outside a record or fail half-way.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import copysign, isfinite

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
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
from refquant.layout.expression import (
    OPERATORS,
    Expression,
    constants,
    depth,
    leaves,
    node_count,
)

__all__ = ["check", "describe", "parse"]

VERSION = 1
MOST_PLANES = 16
MOST_FIELDS = 16
MOST_PIECES = 64
MOST_SLICES = 8
MOST_AXES = 8
MOST_RECORD_BYTES = 1 << 16
MOST_NODES = 64
MOST_DEPTH = 8
"""Less than RQ-MP1 allows, because formulas lie five levels deep in a header."""
MOST_TABLE = 1 << 16
MOST_EXTENT = 1 << 40

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
        raise FormatError(
            "E_DESC_VERSION", f"descriptor version {data['rqd']!r}, expected {VERSION}", where=where
        )
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
        for name, table in _named(data.get("tables", {}), f"{where}.tables", MOST_PLANES).items()
    }
    return planes, fields, _parse_expression(data["value"], f"{where}.value"), tables


def _fail(code: str, message: str, where: str) -> FormatError:
    return FormatError(code, message, where=where)


def _map(
    data: object, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    if not isinstance(data, dict):
        raise _fail("E_SCHEMA_TYPE", f"found {type(data).__name__}, expected a map", where)
    for key in required:
        if key not in data:
            raise _fail("E_SCHEMA_MISSING", f"key {key!r} is missing", where)
    for key in data:
        if key not in required and key not in optional:
            raise _fail("E_SCHEMA_UNKNOWN", f"unknown key {key!r}", where)
    return data


def _named(data: object, where: str, most: int) -> dict[str, object]:
    if not isinstance(data, dict):
        raise _fail("E_SCHEMA_TYPE", f"found {type(data).__name__}, expected a map", where)
    if len(data) > most:
        raise _fail("E_LIMIT", f"{len(data)} entries, at most {most} are allowed", where)
    return data


def _integers(data: object, where: str, most: int, low: int, high: int) -> tuple[int, ...]:
    if not isinstance(data, list) or any(type(n) is not int for n in data):
        raise _fail("E_SCHEMA_TYPE", "expected a list of integers", where)
    if len(data) > most or any(not low <= n <= high for n in data):
        raise _fail(
            "E_DESC_BLOCK", f"{data!r}: expected at most {most} numbers in {low}..{high}", where
        )
    return tuple(data)


def _parse_plane(data: object, where: str) -> Plane:
    entries = _map(data, where, ("block", "bytes"), ("order",))
    block = _integers(entries["block"], f"{where}.block", MOST_AXES, 0, MOST_EXTENT)
    size = entries["bytes"]
    if type(size) is not int:
        raise _fail("E_SCHEMA_TYPE", "expected an integer", f"{where}.bytes")
    order = entries.get("order")
    permutation = (
        None if order is None else _integers(order, f"{where}.order", MOST_AXES, 0, MOST_AXES)
    )
    return Plane(block, size, permutation)


def _parse_field(data: object, where: str) -> Field:
    entries = _map(data, where, ("plane", "elem", "over", "at"))
    if not isinstance(entries["plane"], str) or not isinstance(entries["at"], list):
        raise _fail("E_SCHEMA_TYPE", "expected a plane's name and a list of pieces", where)
    element = _parse_element(entries["elem"], f"{where}.elem")
    over = _integers(entries["over"], f"{where}.over", MOST_AXES, 0, MOST_EXTENT)
    pieces = entries["at"]
    if not 1 <= len(pieces) <= MOST_PIECES:
        raise _fail("E_LIMIT", f"{len(pieces)} pieces, expected 1..{MOST_PIECES}", f"{where}.at")
    return Field(
        entries["plane"],
        element,
        over,
        tuple(_parse_piece(piece, f"{where}.at[{i}]") for i, piece in enumerate(pieces)),
    )


def _parse_piece(data: object, where: str) -> tuple[Slice, ...]:
    if not isinstance(data, list) or not 1 <= len(data) <= MOST_SLICES:
        raise _fail("E_SCHEMA_TYPE", f"expected a list of 1..{MOST_SLICES} slices", where)
    return tuple(_parse_slice(run, f"{where}[{i}]") for i, run in enumerate(data))


def _parse_slice(data: object, where: str) -> Slice:
    if not isinstance(data, list) or len(data) != 4:
        raise _fail("E_SCHEMA_TYPE", "expected [bits, base, shape, strides]", where)
    bits, base, shape, strides = data
    most = MOST_RECORD_BYTES * 8
    (bits,) = _integers([bits], where, 1, 1, 32)
    (base,) = _integers([base], where, 1, 0, most)
    extents = _integers(shape, where, MOST_AXES, 1, most)
    steps = _integers(strides, where, MOST_AXES, 0, most)
    if len(extents) != len(steps):
        raise _fail("E_DESC_SLICE", "shape and strides differ in length", where)
    return Slice(bits, base, extents, steps)


def _parse_element(data: object, where: str) -> Element:
    if not isinstance(data, dict):
        raise _fail("E_SCHEMA_TYPE", "expected a map", where)
    keys = {"u": ("b",), "i": ("b",), "d": ("base", "n"), "f": ("s", "e", "m", "bias", "sp")}
    kind = data.get("k")
    if not isinstance(kind, str) or kind not in keys:
        raise _fail("E_DESC_ELEM", f"unknown element kind {kind!r}", where)
    entries = _map(data, where, ("k", *keys[kind]))
    numbers = {k: v for k, v in entries.items() if k not in ("k", "sp")}
    if any(type(n) is not int for n in numbers.values()):
        raise _fail("E_SCHEMA_TYPE", "expected integers", where)
    n = {k: v for k, v in numbers.items() if isinstance(v, int)}
    if kind == "f":
        specials = entries["sp"]
        if specials not in ("ieee", "fn", "fnuz", "none", "e8m0"):
            raise _fail("E_DESC_ELEM", f"unknown specials {specials!r}", where)
        return Minifloat(n["s"], n["e"], n["m"], n["bias"], specials)
    if kind == "d":
        return Digits(n["base"], n["n"])
    return Unsigned(n["b"]) if kind == "u" else Signed(n["b"])


def _parse_table(data: object, where: str) -> NDArray[np.float32]:
    if not isinstance(data, bytes):
        raise _fail("E_SCHEMA_TYPE", "expected bytes", where)
    if len(data) % 4 or not 4 <= len(data) <= 4 * MOST_TABLE:
        raise _fail("E_DESC_TABLE", f"{len(data)} bytes are no table of binary32", where)
    return np.frombuffer(data, "<f4").astype(np.float32)


def _parse_expression(data: object, where: str, level: int = 1) -> Expression:
    if level > MOST_DEPTH:
        raise _fail("E_DESC_EXPR", f"formula deeper than {MOST_DEPTH}", where)
    if isinstance(data, str | float):
        return data
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise _fail("E_DESC_EXPR", "expected a name, a float or [operator, ...]", where)
    if data[0] not in OPERATORS and data[0] != "lut":
        raise _fail("E_DESC_OP", f"unknown operator {data[0]!r}", where)
    if len(data) != 3:
        raise _fail("E_DESC_EXPR", f"{data[0]} takes 2 operands, found {len(data) - 1}", where)
    if data[0] == "lut" and not (isinstance(data[1], str) and isinstance(data[2], str)):
        raise _fail("E_DESC_EXPR", "lut takes a table's name and a field's name", where)
    operands = (_parse_expression(v, f"{where}[{i}]", level + 1) for i, v in enumerate(data[1:], 1))
    return (data[0], *operands)


def check(
    planes: Mapping[str, Plane],
    fields: Mapping[str, Field],
    tables: Mapping[str, NDArray[np.float32]],
    value: Expression,
    where: str,
) -> None:
    """Raise `FormatError` unless every part is used, in range, and consistent with the others."""
    for name, plane in planes.items():
        _check_plane(plane, f"{where}.planes.{name}")
    for name, field in fields.items():
        if field.plane not in planes:
            raise _fail("E_DESC_EXPR", f"no plane {field.plane!r}", f"{where}.fields.{name}")
        _check_element(field.element, f"{where}.fields.{name}.elem")
        _check_field(field, planes[field.plane], f"{where}.fields.{name}")
    _check_shares(fields, where)
    _check_formula(planes, fields, tables, value, where)


def _check_plane(plane: Plane, where: str) -> None:
    if not 1 <= plane.bytes <= MOST_RECORD_BYTES:
        raise _fail("E_DESC_BLOCK", f"a record of {plane.bytes} bytes", where)
    if plane.order is not None and (
        sorted(plane.order) != list(range(len(plane.block)))
        or plane.order == tuple(range(len(plane.order)))
    ):
        raise _fail(
            "E_DESC_PERM", f"{list(plane.order)} is no reordering of the block's axes", where
        )
    if not plane.block or (plane.order is None and len(plane.block) > 1 and plane.block[0] == 1):
        raise _fail("E_DESC_BLOCK", f"block {list(plane.block)} has an axis to spare", where)


def _check_element(element: Element, where: str) -> None:
    if not _in_range(element):
        raise _fail("E_DESC_ELEM", f"{element} is not in the registry's ranges", where)


def _in_range(element: Element) -> bool:
    match element:
        case Unsigned(bits):
            return 1 <= bits <= 24
        case Signed(bits):
            return 2 <= bits <= 24
        case Digits(base, count):
            return 2 <= base <= 16 and 1 <= count <= 8 and base**count <= 256
        case Minifloat():
            return element.bits in (4, 6, 8, 16, 32) and _plausible(element)


def _plausible(element: Minifloat) -> bool:
    """Whether every finite value is a binary32 number, and its decoding needs no large table."""
    parts = (element.sign, element.exponent, element.mantissa)
    if element.bits == 32:
        return parts == (1, 8, 23) and (element.bias, element.specials) == (127, "ieee")
    if element.specials == "e8m0" and parts != (0, 8, 0):
        return False
    top = (1 << element.exponent) - (2 if element.specials in ("ieee", "e8m0") else 1)
    least = (0 if element.specials == "e8m0" else 1) - element.bias - element.mantissa
    return (
        element.sign in (0, 1)
        and 1 <= element.exponent <= 8
        and element.mantissa >= 0
        and top - element.bias <= 127
        and least >= -149
    )


def _check_field(field: Field, plane: Plane, where: str) -> None:
    if len(field.over) != len(plane.block):
        raise _fail("E_DESC_RANK", "`over` and the plane's block differ in length", where)
    count = 1
    for over, block in zip(field.over, plane.block, strict=True):
        if (over == 0) != (block == 0) or (over and block % over):
            raise _fail("E_DESC_BLOCK", f"{over} does not divide a block of {block}", where)
        count *= block // over if over else 1
    for piece in field.pieces:
        if len({run.count for run in piece}) != 1:
            raise _fail("E_DESC_SLICE", "joined slices have different counts", where)
        if any(run.end > plane.bytes * 8 for run in piece):
            raise _fail("E_DESC_SLICE", f"a slice leaves the {plane.bytes}-byte record", where)
        if sum(run.bits for run in piece) > field.element.bits:
            raise _fail("E_DESC_SLICE", "slices are wider than the element", where)
        if isinstance(field.element, Digits) and (len(piece) > 1 or piece[0].bits != 8):
            raise _fail("E_DESC_SLICE", "digits live in whole bytes", where)
    if field.count > plane.bytes * 8:
        raise _fail("E_DESC_SLICE", f"{field.count} codes in {plane.bytes} bytes", where)
    last = field.pieces[-1][0].count
    spare = last * (field.element.count - 1) if isinstance(field.element, Digits) else 0
    if not count <= field.count <= count + spare:
        raise _fail("E_DESC_SLICE", f"{field.count} codes a record, expected {count}", where)


def _check_formula(
    planes: Mapping[str, Plane],
    fields: Mapping[str, Field],
    tables: Mapping[str, NDArray[np.float32]],
    value: Expression,
    where: str,
) -> None:
    if node_count(value) > MOST_NODES or depth(value) > MOST_DEPTH:
        raise _fail("E_DESC_EXPR", "formula too large", f"{where}.value")
    if any(not _is_constant(c) for c in constants(value)):
        raise _fail(
            "E_DESC_EXPR", "a constant is not finite, -0.0, or not a binary32", f"{where}.value"
        )
    used = set(leaves(value))
    if missing := used - set(fields):
        raise _fail("E_DESC_EXPR", f"no field {min(missing)!r}", f"{where}.value")
    if unused := set(fields) - used:
        raise _fail("E_DESC_UNUSED", f"field {min(unused)!r} is in no formula", where)
    if idle := set(planes) - {field.plane for field in fields.values()}:
        raise _fail("E_DESC_UNUSED", f"plane {min(idle)!r} has no field", where)
    looked_up = set()
    for table, index in _lookups(value):
        looked_up.add(table)
        element = fields[index].element
        if table not in tables or not isinstance(element, Unsigned):
            raise _fail(
                "E_DESC_EXPR", f"lut({table}, {index}): no such table or not unsigned", where
            )
        if tables[table].size != 1 << element.bits or not np.isfinite(tables[table]).all():
            raise _fail(
                "E_DESC_TABLE", f"expected {1 << element.bits} finite entries", f"{where}.{table}"
            )
    if idle := set(tables) - looked_up:
        raise _fail("E_DESC_UNUSED", f"table {min(idle)!r} is never looked up", where)


def _is_constant(number: float) -> bool:
    """Whether a number is finite, not -0.0 (which RQ-MP1 cannot write), and exact in binary32."""
    if not isfinite(number) or abs(number) > float(np.finfo(np.float32).max):
        return False
    return float(np.float32(number)) == number and not (number == 0 and copysign(1, number) < 0)


def _check_shares(fields: Mapping[str, Field], where: str) -> None:
    """Shares of one axis must divide one another, so that every field broadcasts."""
    for axis in range(1, MOST_AXES + 1):
        shares = sorted({f.over[-axis] for f in fields.values() if len(f.over) >= axis} - {0})
        for small, large in pairwise(shares):
            if large % small:
                raise _fail(
                    "E_DESC_BLOCK",
                    f"shares of {small} and {large} weights do not divide one another",
                    f"{where}.fields",
                )


def _lookups(value: Expression) -> list[tuple[str, str]]:
    if not isinstance(value, tuple):
        return []
    if value[0] == "lut":
        return [(str(value[1]), str(value[2]))]
    return [pair for operand in value[1:] for pair in _lookups(operand)]
