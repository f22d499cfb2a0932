"""Rounding to nearest for GPTQ's and AWQ's planes in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/gptq.json and awq.json.
"""

from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["awq", "gptq", "round_to_nearest"]

Codes = dict[str, list[int]]


def round_to_nearest(
    x: Sequence[float], bits: int, symmetry: str, least_zero: int
) -> tuple[int, int, list[int]]:
    """Scale bits, zero point and codes of a group."""
    top = 2**bits - 1
    low, high = min(0.0, *x), max(0.0, *x)
    if symmetry == "sym":
        high = max(-low, high)
        low = -high
    if low == 0 and high == 0:
        low, high = -1.0, 1.0
    scale = binary.divide(binary.subtract(high, low), float(top))
    stored = binary.encode(max(2.0**-24, min(65504.0, scale)), binary.FLOAT16)
    scale = binary.decode(stored, binary.FLOAT16)
    zero = 2 ** (bits - 1)
    if symmetry == "asym":
        zero = max(least_zero, min(top, binary.half_even(binary.divide(-low, scale))))
    return stored, zero, [max(0, min(top, nearest(v, scale) + zero)) for v in x]


def nearest(value: float, scale: float) -> int:
    """The integer nearest to value / scale, ties to even, limited to what no code reaches."""
    quotient = binary.divide(value, scale)
    return binary.half_even(max(-1000.0, min(1000.0, quotient)))


def gptq(x: Sequence[float], bits: int, v: str, symmetry: str) -> Codes:
    """The fields of a group; version 1 stores the zero point less one."""
    less = 1 if v == "1" else 0
    scale, zero, codes = round_to_nearest(x, bits, symmetry, less)
    return {"s": [scale], "z": [zero - less], "q": codes}


def awq(x: Sequence[float]) -> Codes:
    """The fields of a group of AWQ's int4."""
    scale, zero, codes = round_to_nearest(x, 4, "asym", 0)
    return {"s": [scale], "z": [zero], "q": codes}
