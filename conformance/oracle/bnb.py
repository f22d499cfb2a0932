"""bitsandbytes' blockwise codes in plain Python, one block at a time.

Written from the clauses of the `bnb/` ledger. The tables are spelled anew: NF4 in decimals that
round to its binary32 entries, FP4 as fractions of twelve, the dynamic table by its rule.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from conformance.oracle import binary

__all__ = [
    "TABLES",
    "decode",
    "decode_nested",
    "encode",
    "encode_nested",
    "mean",
    "row",
    "row_value",
]

NF4 = (
    "-1 -0.6961928 -0.52507305 -0.3949175 -0.28444138 -0.18477343 -0.091050036 0 "
    "0.0795803 0.1609302 0.2461123 0.33791524 0.44070983 0.562617 0.72295684 1"
)
TWELFTHS = ("0", "1/16", "8", "12", "4", "6", "2", "3")


def fp4() -> list[float]:
    """Fractions of twelve, then their negatives; both zeros are positive."""
    positive = [binary.f32(Fraction(numerator) / 12) for numerator in TWELFTHS]
    return positive + [-v or 0.0 for v in positive]


def dynamic() -> list[float]:
    """`2**i` fractions times `10**(i - 6)` for i from 0 to 6, both signs, with 0 and 1."""
    values = [0.0, 1.0]
    first = binary.f32(Fraction(1, 10))
    for i in range(7):
        count = 2**i
        step = binary.divide(binary.subtract(1.0, first), float(count))
        half = (count + 1) // 2
        points = [
            binary.f32(Fraction(first) + Fraction(step) * k)
            if k < half
            else binary.f32(1 - Fraction(step) * (count - k))
            for k in range(count + 1)
        ]
        power = binary.f32(Fraction(10) ** (i - 6))
        for low, high in pairwise(points):
            magnitude = binary.multiply(power, binary.divide(binary.add(low, high), 2.0))
            values += [magnitude, -magnitude]
    return sorted(values)


TABLES = {
    "nf4": [binary.f32(Fraction(text)) for text in NF4.split()],
    "fp4": fp4(),
    "dynamic8": dynamic(),
}


LEAST = binary.f32(Fraction(1, 10**38))


def encode(x: Sequence[float], kind: str) -> tuple[int, list[int]]:
    """The bits of absmax, and the codes."""
    absmax = max(abs(v) for v in x)
    reciprocal = binary.divide(1.0, max(absmax, LEAST))
    return binary.bits32(absmax), nearest([binary.multiply(v, reciprocal) for v in x], kind)


def nearest(scaled: Sequence[float], kind: str) -> list[int]:
    """Codes of the nearest entries, the lower of two equally near."""
    table = TABLES[kind]
    order = sorted(range(len(table)), key=lambda code: (table[code], code))
    middles = [binary.divide(binary.add(table[a], table[b]), 2.0) for a, b in pairwise(order)]
    held = [max(-1.0, min(1.0, value)) for value in scaled]
    return [order[bisect_left(middles, value)] for value in held]


def decode(absmax_bits: int, code: int, kind: str) -> float:
    """`table[code] * absmax`."""
    return binary.multiply(TABLES[kind][code], binary.float32_from_bits(absmax_bits))


def mean(absmax: Sequence[float]) -> float:
    """The exact sum rounded to binary64, over the count in binary64, rounded to binary32."""
    return binary.f32(Fraction(float(sum(map(Fraction, absmax))) / len(absmax)))


def encode_nested(absmax: Sequence[float], offset: float) -> tuple[list[int], list[int]]:
    """The code of every absmax, and the bits of the absmax of each run of 256."""
    codes: list[int] = []
    runs: list[int] = []
    for start in range(0, len(absmax), 256):
        rest = [binary.subtract(value, offset) for value in absmax[start : start + 256]]
        if len(rest) == 256:
            bits, found = encode(rest, "dynamic8")
        else:
            largest = max(LEAST, *map(abs, rest))
            bits = binary.bits32(largest)
            found = nearest([binary.divide(value, largest) for value in rest], "dynamic8")
        codes += found
        runs.append(bits)
    return codes, runs


def decode_nested(code: int, run_bits: int, offset: float) -> float:
    """The absmax of a block: a product and a sum."""
    return binary.add(decode(run_bits, code, "dynamic8"), offset)


def row(x: Sequence[float]) -> tuple[int, list[int]]:
    """The bits of the row's largest magnitude, and its 8-bit codes."""
    halves = [binary.decode(binary.encode(v, binary.FLOAT16), binary.FLOAT16) for v in x]
    absmax = max(abs(v) for v in halves)
    inverse = binary.multiply(binary.divide(1.0, absmax), 127.0)
    codes = []
    for v in halves:
        exact = binary.multiply(v, inverse)
        codes.append(0 if math.isnan(exact) else binary.half_even(exact))
    return binary.bits32(absmax), codes


def row_value(absmax_bits: int, code: int) -> float:
    """`code * absmax`, times the binary32 number nearest to 1 / 127."""
    product = binary.multiply(float(code), binary.float32_from_bits(absmax_bits))
    return binary.multiply(product, binary.f32(Fraction(1, 127)))
