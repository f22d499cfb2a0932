"""The static rules of layouts: every part used, in range, and consistent with the others.

A layout that passes cannot make the decoder read outside a record or fail half-way.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import copysign, isfinite, prod

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError
from refquant.layout.declare import Digits, Element, Field, Minifloat, Plane, Signed, Unsigned
from refquant.layout.expression import (
    Expression,
    constants,
    depth,
    leaves,
    lookups,
    node_count,
)
from refquant.layout.places import shares_a_bit

__all__ = [
    "MOST_AXES",
    "MOST_DEPTH",
    "MOST_EXTENT",
    "MOST_FIELDS",
    "MOST_NODES",
    "MOST_PIECES",
    "MOST_PLANES",
    "MOST_RECORD_BYTES",
    "MOST_SLICES",
    "MOST_TABLE",
    "check",
    "fail",
]

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


def fail(code: str, message: str, where: str) -> FormatError:
    """The error for a broken rule, to be raised."""
    return FormatError(code, message, where=where)


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
            raise fail("E_DESC_EXPR", f"no plane {field.plane!r}", f"{where}.fields.{name}")
        _check_element(field.element, f"{where}.fields.{name}.elem")
        _check_field(field, planes[field.plane], f"{where}.fields.{name}")
    _check_shares(fields, where)
    _check_overlap(planes, fields, where)
    _check_formula(planes, fields, tables, value, where)


def _check_plane(plane: Plane, where: str) -> None:
    if not 1 <= plane.bytes <= MOST_RECORD_BYTES:
        raise fail("E_DESC_BLOCK", f"a record of {plane.bytes} bytes", where)
    if plane.order is not None and (
        sorted(plane.order) != list(range(len(plane.block)))
        or plane.order == tuple(range(len(plane.order)))
    ):
        raise fail(
            "E_DESC_PERM", f"{list(plane.order)} is no reordering of the block's axes", where
        )
    if not plane.block or (plane.order is None and len(plane.block) > 1 and plane.block[0] == 1):
        raise fail("E_DESC_BLOCK", f"block {list(plane.block)} has an axis to spare", where)


def _check_element(element: Element, where: str) -> None:
    if not _in_range(element):
        raise fail("E_DESC_ELEM", f"{element} is not in the registry's ranges", where)


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
    # Before any power of two, because a file may state an exponent of 2**52 bits.
    if parts[0] not in (0, 1) or not 1 <= parts[1] <= 8 or parts[2] < 0:
        return False
    if element.bits == 32:
        return parts == (1, 8, 23) and (element.bias, element.specials) == (127, "ieee")
    if element.specials == "e8m0" and parts != (0, 8, 0):
        return False
    top = (1 << element.exponent) - (2 if element.specials in ("ieee", "e8m0") else 1)
    least = (0 if element.specials == "e8m0" else 1) - element.bias - element.mantissa
    return top - element.bias <= 127 and least >= -149


def _check_field(field: Field, plane: Plane, where: str) -> None:
    if len(field.over) != len(plane.block):
        raise fail("E_DESC_RANK", "`over` and the plane's block differ in length", where)
    count = 1
    for over, block in zip(field.over, plane.block, strict=True):
        if (over == 0) != (block == 0) or (over and block % over):
            raise fail("E_DESC_BLOCK", f"{over} does not divide a block of {block}", where)
        count *= block // over if over else 1
    for piece in field.pieces:
        if len({run.count for run in piece}) != 1:
            raise fail("E_DESC_SLICE", "joined slices have different counts", where)
        if any(run.end > plane.bytes * 8 for run in piece):
            raise fail("E_DESC_SLICE", f"a slice leaves the {plane.bytes}-byte record", where)
        if sum(run.bits for run in piece) > field.element.bits:
            raise fail("E_DESC_SLICE", "slices are wider than the element", where)
        if isinstance(field.element, Digits) and (len(piece) > 1 or piece[0].bits != 8):
            raise fail("E_DESC_SLICE", "digits live in whole bytes", where)
    if field.count > plane.bytes * 8:
        raise fail("E_DESC_SLICE", f"{field.count} codes in {plane.bytes} bytes", where)
    last = field.pieces[-1][0].count
    spare = last * (field.element.count - 1) if isinstance(field.element, Digits) else 0
    if not count <= field.count <= count + spare:
        raise fail("E_DESC_SLICE", f"{field.count} codes a record, expected {count}", where)


def _check_formula(
    planes: Mapping[str, Plane],
    fields: Mapping[str, Field],
    tables: Mapping[str, NDArray[np.float32]],
    value: Expression,
    where: str,
) -> None:
    if node_count(value) > MOST_NODES or depth(value) > MOST_DEPTH:
        raise fail("E_DESC_EXPR", "formula too large", f"{where}.value")
    if any(not _is_constant(c) for c in constants(value)):
        raise fail(
            "E_DESC_EXPR", "a constant is not finite, -0.0, or not a binary32", f"{where}.value"
        )
    used = set(leaves(value))
    if missing := used - set(fields):
        raise fail("E_DESC_EXPR", f"no field {min(missing)!r}", f"{where}.value")
    if unused := set(fields) - used:
        raise fail("E_DESC_UNUSED", f"field {min(unused)!r} is in no formula", where)
    if idle := set(planes) - {field.plane for field in fields.values()}:
        raise fail("E_DESC_UNUSED", f"plane {min(idle)!r} has no field", where)
    looked_up = set()
    for table, index in lookups(value):
        looked_up.add(table)
        element = fields[index].element
        if table not in tables or not isinstance(element, Unsigned):
            raise fail(
                "E_DESC_EXPR", f"lut({table}, {index}): no such table or not unsigned", where
            )
        entries = 1 << element.bits
        vectors = entries * prod(fields[index].over) if len(fields[index].over) == 1 else 0
        if tables[table].size not in (entries, vectors) or not np.isfinite(tables[table]).all():
            raise fail("E_DESC_TABLE", f"expected {entries} finite entries", f"{where}.{table}")
    if idle := set(tables) - looked_up:
        raise fail("E_DESC_UNUSED", f"table {min(idle)!r} is never looked up", where)


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
                raise fail(
                    "E_DESC_BLOCK",
                    f"shares of {small} and {large} weights do not divide one another",
                    f"{where}.fields",
                )


def _check_overlap(planes: Mapping[str, Plane], fields: Mapping[str, Field], where: str) -> None:
    """No bit of a record belongs to two codes, so that whatever can be decoded can be packed."""
    for name, plane in planes.items():
        within = [field for field in fields.values() if field.plane == name]
        if shares_a_bit(within, plane.bytes):
            raise fail("E_DESC_OVERLAP", "two runs hold the same bit", f"{where}.planes.{name}")
