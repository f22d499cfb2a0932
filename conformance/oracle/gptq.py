"""Rounding to nearest for GPTQ's and AWQ's planes in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/gptq.json and awq.json.
"""

from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["act_order", "awq", "code_of_rows", "gptq", "round_to_nearest", "value"]

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


def act_order(importance: Sequence[float], group: int) -> list[int]:
    """The group of each input: the most important `group` inputs are group 0, and so on."""
    order = sorted(range(len(importance)), key=lambda i: (-importance[i], i))
    places = {place: k // group for k, place in enumerate(order)}
    return [places[i] for i in range(len(importance))]


def code_of_rows(column: Sequence[int], bits: int, k: int) -> int:
    """Code k of a column of words, low bits first; a code may begin in one and end in the next."""
    first, shift = divmod(bits * k, 32)
    low = column[first] >> shift
    high = column[first + 1] << (32 - shift) if shift + bits > 32 else 0
    return (low | high) & (2**bits - 1)


def value(scale: int, zero: int, code: int, v: str) -> float:
    """`scale * (code - zero)`, one added to a zero point of version 1."""
    return binary.multiply(
        binary.decode(scale, binary.FLOAT16), float(code - zero - (1 if v == "1" else 0))
    )
