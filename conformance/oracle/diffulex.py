"""DiffuLex Edge's 8-bit rows and float16 weights in plain Python.

Written from the clauses of conformance/registry/evidence/diffulex.json.
"""

from collections.abc import Mapping, Sequence

from conformance.oracle import binary
from conformance.oracle.streams import low_bits_first

__all__ = ["fp16", "int8", "packed", "value"]

Knobs = Mapping[str, str | int]


def int8(x: Sequence[float], _bits: int, _knobs: Knobs) -> tuple[int, int, list[int]]:
    """The bits of the scale, 0 (there is no zero point) and the codes of a row."""
    scale = binary.divide(max(abs(v) for v in x), 127.0)
    if scale == 0:
        scale = 1.0
    codes = [max(-128, min(binary.half_even(binary.divide(v, scale)), 127)) for v in x]
    return binary.bits32(scale), 0, codes


def packed(codes: Sequence[int], _bits: int, _knobs: Knobs) -> bytes:
    """The bytes of a row of codes."""
    return low_bits_first(codes, 8)


def value(scale: int, _zero: int, code: int, _knobs: Knobs) -> float:
    """`scale * code`, rounded once."""
    return binary.multiply(binary.float32_from_bits(scale), float(code))


def fp16(weight: float) -> int:
    """The binary16 code of a weight, infinite from 65520."""
    return binary.encode(weight, binary.FLOAT16)
