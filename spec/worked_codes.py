"""Codes of elements and the numbers they stand for, for chapter 6."""

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

from conformance.oracle.layout import number_of

__all__ = ["CODES", "lines", "table"]


def floats(s: int, e: int, m: int, bias: int, sp: str) -> dict[str, Any]:
    """A float element as data."""
    return {"k": "f", "s": s, "e": e, "m": m, "bias": bias, "sp": sp}


CODES: tuple[tuple[dict[str, Any], tuple[int, ...]], ...] = (
    ({"k": "u", "b": 4}, (0, 15)),
    ({"k": "i", "b": 4}, (7, 8, 15)),
    (floats(1, 2, 1, 1, "none"), (1, 2, 7, 8, 15)),
    (floats(1, 3, 0, 3, "ieee"), (1, 6, 7, 15)),
    (floats(1, 4, 3, 7, "fn"), (1, 8, 0x7E, 0x7F, 0x80)),
    (floats(1, 4, 3, 8, "fnuz"), (1, 0x7F, 0x80, 0xFF)),
    (floats(1, 5, 2, 15, "ieee"), (1, 0x7B, 0x7C, 0x7D, 0xFC)),
    (floats(0, 8, 0, 127, "e8m0"), (0, 127, 254, 255)),
    (floats(1, 5, 10, 15, "ieee"), (1, 0x3C00, 0x7BFF, 0x7C00, 0x8000)),
    (floats(1, 8, 7, 127, "ieee"), (1, 0x3F80, 0x7F80, 0xFF80)),
)


def signed(element: dict[str, Any], code: int) -> int:
    """Two's complement, as the oracle's unpacking gives it."""
    is_negative = element["k"] == "i" and code >> (element["b"] - 1)
    return code - int(1 << element["b"]) if is_negative else code


def lines() -> Iterator[tuple[dict[str, Any], int, int, str]]:
    """(element, code, binary32 bits, number as text) of every worked value."""
    for element, codes in CODES:
        for code in codes:
            number = number_of(element, signed(element, code))
            bits = 0x7FC00000
            if not math.isnan(number):
                bits = int.from_bytes(struct.pack("<f", number), "little")
            yield element, code, bits, repr(number)


def table() -> str:
    """The lines as text."""
    rows = [
        f"{json.dumps(element):64}  {code:4x}  {bits:08x}  {number}"
        for element, code, bits, number in lines()
    ]
    return "\n".join(["```text", *rows, "```"])
