"""torch-to-nnef's formats in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/t2n.json.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from conformance.oracle import affine, binary

__all__ = ["q40", "qint8", "quint8"]

Codes = dict[str, list[int]]

KNOBS: Mapping[str, str | int] = {
    "bits": 8,
    "scale": "f32",
    "divisor": "half",
    "range": "full",
    "by": "reciprocal",
    "round": "half_even",
    "zero": "after",
    "extent": "zero",
    "floor": "eps",
    "overflow": "saturate",
    "zero_point": "rounded",
    "zero_using": "codes",
}


def q40(x: Sequence[float], mode: str, percentile: int = 100) -> Codes:
    """Scale bits and codes of 32 weights; clauses T2N-Q40-C1 to C7."""
    scale = binary.divide(quantile([abs(v) for v in x], percentile), -8.0)
    if mode == "fixed":
        scale = max(scale, -65504.0)
    bits = binary.encode(scale, binary.FLOAT16)
    stored = binary.decode(bits, binary.FLOAT16)
    inverse = stored if stored == 0 else binary.divide(1.0, stored)
    if mode == "strict":
        inverse = binary.decode(binary.encode(inverse, binary.FLOAT16), binary.FLOAT16)
    return {"d": [bits], "q": [code_of(v, inverse) for v in x]}


def quantile(magnitudes: Sequence[float], percentile: int) -> float:
    """The largest at 100; else between two neighbours, one fused operation from the nearer one."""
    if percentile == 100:
        return max(magnitudes)
    ordered = sorted(magnitudes)
    rank = binary.multiply(binary.f32(Fraction(percentile / 100)), float(len(ordered) - 1))
    weight = Fraction(rank) - math.floor(rank)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    step = Fraction(binary.subtract(high, low))
    if weight < Fraction(1, 2):
        return binary.f32(weight * step + Fraction(low))
    return binary.f32((weight - 1) * step + Fraction(high))


def code_of(value: float, inverse: float) -> int:
    """floor(value * inverse + 8.5) in 0..15; NaN is code 0."""
    exact = binary.add(binary.multiply(value, inverse), 8.5)
    if math.isnan(exact):
        return 0
    if math.isinf(exact):
        return 15 if exact > 0 else 0
    return max(0, min(15, math.floor(exact)))


def qint8(x: Sequence[float]) -> Codes:
    """Scale bits and codes of a tensor; clauses T2N-QINT8-C1 to C4."""
    bits, _, codes = affine.encode(x, {**KNOBS, "symmetry": "sym", "using": "stored"})
    return {"s": [bits], "q": codes}


def quint8(x: Sequence[float], zero: str) -> Codes:
    """Scale bits, zero point and codes of a tensor; clauses T2N-QUINT8-C1 to C5."""
    bits, point, codes = affine.encode(x, {**KNOBS, "symmetry": "asym", "using": "stored"})
    if zero == "after":
        return {"s": [bits], "z": [point + 128], "q": [code + 128 for code in codes]}
    scale = binary.decode(bits, binary.FLOAT32)
    if zero == "tract":
        sums = [binary.add(binary.divide(v, scale), float(point + 128)) for v in x]
        codes = [max(0, min(255, binary.half_even(max(-1e9, min(1e9, v))))) for v in sums]
        return {"s": [bits], "z": [point + 128], "q": codes}
    inverse = binary.divide(1.0, scale)
    return {"s": [bits], "z": [point + 128], "q": [fused(v, inverse, point + 128) for v in x]}


def fused(value: float, inverse: float, zero: int) -> int:
    """`value * inverse + zero` rounded once to binary32, then to the nearest even in 0..255."""
    exact = Fraction(value) * Fraction(inverse) + zero
    return max(0, min(255, binary.half_even(max(-1e9, min(1e9, binary.f32(exact))))))
