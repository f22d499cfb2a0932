"""AI Edge's integers and float16 cast in plain Python, one group of weights at a time.

Written from the clauses of conformance/registry/evidence/aeq.json.
"""

import math
from collections.abc import Mapping, Sequence

from conformance.oracle import binary
from conformance.oracle.streams import low_bits_first

__all__ = ["chosen", "fp16", "integers", "packed", "value"]

Knobs = Mapping[str, str | int]

LEAST_EXTENT = binary.f32(1e-9)


def integers(x: Sequence[float], bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale, the zero point (0 where there is none) and the codes."""
    qmax = 2 ** (bits - 1) - 1
    if knobs["symmetry"] == "sym":
        bound = max(LEAST_EXTENT, *(abs(v) for v in x))
        return chosen(x, bits, binary.divide(bound, float(qmax)), knobs)
    qmin = -qmax - 1
    low, high = min(0.0, *x), max(0.0, *x)
    extent = max(LEAST_EXTENT, binary.subtract(high, low))
    scale = binary.divide(extent, float(qmax - qmin))
    zero = nearest(binary.subtract(float(qmin), binary.divide(low, scale)), qmin, qmax)
    codes = [nearest(binary.add(binary.divide(v, scale), float(zero)), qmin, qmax) for v in x]
    return binary.encode(scale, binary.FLOAT32), zero, codes


def chosen(x: Sequence[float], bits: int, scale: float, knobs: Knobs) -> tuple[int, int, list[int]]:
    """Symmetric codes by a scale that is given: stored first, then divided by."""
    qmax = 2 ** (bits - 1) - 1
    lowest = -qmax if bits == 8 else -qmax - 1
    form = binary.FLOAT32
    if knobs["granularity"] == "block":
        scale = binary.decode(binary.encode(scale, binary.BFLOAT16), binary.BFLOAT16)
        form = binary.FLOAT16
    stored = binary.encode(scale, form)
    used = binary.decode(stored, form)
    return stored, 0, [nearest(binary.divide(v, used), lowest, qmax) for v in x]


def nearest(real: float, lowest: int, highest: int) -> int:
    """The nearest code, ties to even, in `lowest..highest`; NaN becomes 0."""
    if math.isnan(real):
        return 0
    if math.isinf(real):
        return highest if real > 0 else lowest
    return max(lowest, min(binary.half_even(real), highest))


def packed(codes: Sequence[int], bits: int, _knobs: Knobs) -> bytes:
    """The bytes of a row of codes."""
    return low_bits_first(codes, bits)


def value(scale: int, zero: int, code: int, knobs: Knobs) -> float:
    """`scale * (code - zero_point)`, rounded once."""
    form = binary.FLOAT16 if knobs["granularity"] == "block" else binary.FLOAT32
    return binary.multiply(binary.decode(scale, form), float(code - zero))


def fp16(weight: float) -> int:
    """The binary16 code of a weight, infinite from 65520."""
    return binary.encode(weight, binary.FLOAT16)
