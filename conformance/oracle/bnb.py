"""bitsandbytes' blockwise codes in plain Python, one block at a time.

Written from the clauses of the `bnb/` ledger. The tables are spelled anew: NF4 in decimals that
round to its binary32 entries, FP4 as fractions of twelve, the dynamic table by its rule.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from conformance.oracle import binary

__all__ = ["TABLES", "decode", "encode"]

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


def encode(x: Sequence[float], kind: str) -> tuple[int, list[int]]:
    """The bits of absmax, and the codes."""
    table = TABLES[kind]
    absmax = max(abs(v) for v in x)
    reciprocal = binary.divide(1.0, max(absmax, binary.f32(Fraction(1, 10**38))))
    order = sorted(range(len(table)), key=lambda code: (table[code], code))
    middles = [binary.divide(binary.add(table[a], table[b]), 2.0) for a, b in pairwise(order)]
    codes = []
    for value in x:
        scaled = max(-1.0, min(1.0, binary.multiply(value, reciprocal)))
        codes.append(order[sum(middle < scaled for middle in middles)])
    return binary.bits32(absmax), codes


def decode(absmax_bits: int, code: int, kind: str) -> float:
    """`table[code] * absmax`."""
    return binary.multiply(TABLES[kind][code], binary.float32_from_bits(absmax_bits))
