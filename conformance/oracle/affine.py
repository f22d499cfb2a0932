"""`int/affine` in plain Python: one group at a time, every operator rounded once to binary32.

Written from the clauses of int/affine in conformance/registry/evidence/int.json.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["decode", "encode"]

Knobs = Mapping[str, str | int]

ROUNDINGS: Mapping[str, Callable[[float], int]] = {
    "half_even": binary.half_even,
    "half_away": binary.half_away,
}
STORAGE = {
    "f32": binary.FLOAT32,
    "f16": binary.FLOAT16,
    "bf16": binary.BFLOAT16,
    "bf16_f16": binary.FLOAT16,
}


def encode(x: Sequence[float], knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale, the zero point (0 where there is none) and the codes."""
    qmax = 2 ** (int(knobs["bits"]) - 1) - 1
    qmin = -qmax - 1
    symmetric = knobs["symmetry"] == "sym"
    low, high = min(x), max(x)
    if symmetric or knobs["extent"] == "zero":
        low, high = min(low, 0.0), max(high, 0.0)
    scale = floored(raw_scale(low, high, qmin, qmax, knobs), knobs)
    bits, stored = store(scale, knobs)
    used = stored if knobs["using"] == "stored" else scale
    lowest = -qmax if symmetric and knobs["range"] == "narrow" else qmin
    if symmetric:
        return bits, 0, [clipped(rounded(quotient(v, used, knobs), knobs), lowest, qmax) for v in x]
    zero = zero_point(low, used if knobs["zero_using"] == "codes" else scale, qmin, qmax, knobs)
    codes = []
    for v in x:
        exact = quotient(v, used, knobs)
        if knobs["zero"] == "before":
            code = rounded(binary.add(exact, zero), knobs)
        else:
            code = rounded(exact, knobs) + zero
        codes.append(clipped(code, qmin, qmax))
    return bits, clipped(zero, qmin, qmax), codes


def zero_point(low: float, scale: float, qmin: int, qmax: int, knobs: Knobs) -> float:
    """The code of 0.0 in qmin..qmax, or NaN where the least weight over the scale is."""
    least = binary.divide(low, scale)
    if knobs["zero_point"] == "difference":
        exact = rounded(binary.subtract(float(qmin), least), knobs)
    else:
        exact = qmin - rounded(least, knobs)
    return exact if math.isnan(exact) else float(clipped(exact, qmin, qmax))


def decode(bits: int, zero: int, code: int, knobs: Knobs) -> float:
    """`scale * (code - zero_point)`."""
    scale = binary.decode(bits, STORAGE[str(knobs["scale"])])
    return binary.multiply(scale, binary.subtract(float(code), float(zero)))


def raw_scale(low: float, high: float, qmin: int, qmax: int, knobs: Knobs) -> float:
    """The scale before any floor and storage."""
    if knobs["symmetry"] == "asym":
        extent = ranged(binary.subtract(high, low), knobs)
        return binary.divide(extent, float(qmax - qmin))
    if knobs["divisor"] == "sides":
        sides = max(binary.divide(low, float(qmin)), binary.divide(high, float(qmax)))
        return binary.add(sides, 0.0)
    steps = qmax if knobs["divisor"] == "qmax" else float(Fraction(qmax - qmin, 2))
    return binary.divide(ranged(binary.add(max(-low, high), 0.0), knobs), float(steps))


def ranged(extent: float, knobs: Knobs) -> float:
    """The extent of a group, at least 1e-9 where the floor is one of ranges."""
    return max(extent, binary.f32(1e-9)) if knobs["floor"] == "range" else extent


def floored(scale: float, knobs: Knobs) -> float:
    """The least scale that is used."""
    match knobs["floor"]:
        case "one":
            return scale or 1.0
        case "eps":
            return max(scale, 2.0**-23)
        case "tiny":
            return max(scale, 2.0**-126)
    return scale


def store(scale: float, knobs: Knobs) -> tuple[int, float]:
    """The scale's bits and the number they stand for."""
    bits = stored_bits(scale, knobs)
    form = STORAGE[str(knobs["scale"])]
    if knobs["floor"] == "one" and binary.decode(bits, form) == 0:
        bits = stored_bits(1.0, knobs)
    return bits, binary.decode(bits, form)


def stored_bits(scale: float, knobs: Knobs) -> int:
    """The scale rounded to its storage; too large a scale becomes the largest, or infinite."""
    overflow = "saturate" if knobs["overflow"] == "saturate" else "special"
    if knobs["scale"] != "bf16_f16":
        return binary.encode(scale, STORAGE[str(knobs["scale"])], overflow)
    if overflow == "saturate":
        # The largest bfloat16 that float16 holds: 1.1111111b * 2**15.
        scale = min(scale, 65280.0)
    upper = binary.decode(binary.encode(scale, binary.BFLOAT16), binary.BFLOAT16)
    return binary.encode(upper, binary.FLOAT16)


def quotient(value: float, scale: float, knobs: Knobs) -> float:
    """`value / scale`, or `value * (1 / scale)`."""
    if knobs["by"] == "divide":
        return binary.divide(value, scale)
    return binary.multiply(value, binary.divide(1.0, scale))


def rounded(value: float, knobs: Knobs) -> float:
    """The nearest integer; infinities and NaN stay what they are.

    The result is a binary32 number, so that sums with a zero point are exact up to 2**24 and
    larger ones are far outside of any range of codes.
    """
    if not math.isfinite(value):
        return value
    return float(ROUNDINGS[str(knobs["round"])](value))


def clipped(code: float, low: int, high: int) -> int:
    """The nearest code in `low..high`; NaN, the quotient of zero by zero, is code 0."""
    return 0 if math.isnan(code) else int(max(low, min(code, high)))
