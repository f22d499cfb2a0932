"""tract's block formats in plain Python: one block of 32 weights at a time.

Written from the clauses in conformance/registry/evidence/tract.json.
"""

import math
from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["q2_0t", "q8_1", "q40"]

Codes = dict[str, list[int]]


def first_extreme(x: Sequence[float]) -> float:
    """The first weight of largest magnitude, with its sign; 0.0 in a block of zeros."""
    extreme = 0.0
    for value in x:
        if abs(value) > abs(extreme):
            extreme = value
    return extreme


def reciprocal(scale: float) -> float:
    """1 / scale, and 0 for a scale of zero."""
    return 0.0 if scale == 0 else binary.divide(1.0, scale)


def saturated(value: float) -> int:
    """The integer part in -128..127; NaN is 0."""
    if math.isnan(value):
        return 0
    return math.trunc(max(-128.0, min(127.0, value)))


def rounded(value: float) -> float:
    """The nearest integer, ties away from zero; infinities and NaN stay."""
    return float(binary.half_away(value)) if math.isfinite(value) else value


def total(x: Sequence[float]) -> float:
    """The sum from the first to the last, rounded after every addition."""
    found = 0.0
    for value in x:
        found = binary.add(found, value)
    return found


def q40(x: Sequence[float]) -> Codes:
    """Scale bits and codes; clauses TRACT-Q40-C1 to C5."""
    scale = binary.divide(first_extreme(x), -8.0)
    inverse = reciprocal(scale)
    wide = [min(15, saturated(binary.add(binary.multiply(v, inverse), 8.5))) for v in x]
    codes = [code & 15 for code in wide]
    for j, low in enumerate(wide[:16]):
        if low < 0:
            codes[j + 16] |= 8
    return {"d": [binary.encode(scale, binary.FLOAT16)], "q": codes}


def q8_1(x: Sequence[float]) -> Codes:
    """Scale bits, sum bits and codes; clauses TRACT-Q81-C1 to C5."""
    scale = binary.divide(first_extreme(x), 127.0)
    inverse = reciprocal(scale)
    return {
        "d": [binary.encode(scale, binary.FLOAT16)],
        "s": [binary.encode(total(x), binary.FLOAT16)],
        "q": [saturated(rounded(binary.multiply(v, inverse))) for v in x],
    }


def q2_0t(x: Sequence[float]) -> Codes:
    """Scale bits and codes; clauses TRACT-Q20T-C1 to C4."""
    scale = binary.divide(total([abs(v) for v in x]), 32.0)
    inverse = reciprocal(scale)
    quotients = [rounded(binary.multiply(v, inverse)) for v in x]
    codes = [0 if math.isnan(v) else int(max(-1.0, min(1.0, v))) for v in quotients]
    return {"d": [binary.encode(scale, binary.FLOAT16)], "q": [code + 1 for code in codes]}
