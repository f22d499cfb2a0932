"""compressed-tensors' formats in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/ct.json.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from conformance.oracle import binary

__all__ = ["floats", "integers"]

Codes = dict[str, list[int]]
Knobs = Mapping[str, str | int]

EPSILON = {"f32": 2.0**-23, "bf16": 2.0**-7}


def rounding(dtype: str) -> Callable[[float], float]:
    """Rounds a binary32 number to the dtype of the weights."""
    if dtype == "f32":
        return lambda value: value
    return lambda value: binary.decode(binary.encode(value, binary.BFLOAT16), binary.BFLOAT16)


def scale_bits(scale: float, dtype: str) -> int:
    """The scale as it is stored, which is exact."""
    return binary.encode(scale, binary.FLOAT32 if dtype == "f32" else binary.BFLOAT16)


def limited(value: float, low: float, high: float) -> float:
    """The nearest number in a range; NaN is 0."""
    return 0.0 if math.isnan(value) else max(low, min(high, value))


def integers(x: Sequence[float], bits: int, knobs: Knobs, offset: int) -> Codes:
    """The fields of a group; `offset` is what the storage of codes and zero points adds."""
    dtype = str(knobs["dtype"])
    r = rounding(dtype)
    x = [r(v) for v in x]
    least, most = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    low, high = min(0.0, *x), max(0.0, *x)
    zero, found = 0, {}
    if knobs["symmetry"] == "sym":
        scale = r(binary.divide(max(-low, high), (most - least) / 2))
    else:
        scale = r(binary.divide(r(binary.subtract(high, low)), most - least))
        exact = r(binary.subtract(least, r(binary.divide(low, scale))))
        zero = binary.half_even(limited(exact, least, most))
        found["z"] = [zero + offset]
    scale = scale or EPSILON[dtype]
    codes = []
    for value in x:
        shifted = r(binary.add(r(binary.divide(value, scale)), float(zero)))
        codes.append(binary.half_even(limited(shifted, least, most)) + offset)
    return {"s": [scale_bits(scale, dtype)], "q": codes} | found


def floats(x: Sequence[float], dtype: str) -> Codes:
    """The fields of a group of E4M3 codes."""
    r = rounding(dtype)
    x = [r(v) for v in x]
    scale = r(binary.divide(max(abs(v) for v in x), 448.0)) or EPSILON[dtype]
    codes = []
    for value in x:
        quotient = binary.add(r(binary.divide(value, scale)), 0.0)
        if not math.isnan(quotient):
            quotient = limited(quotient, -448.0, 448.0)
        codes.append(binary.encode(quotient, binary.FLOAT8_E4M3FN))
    return {"s": [scale_bits(scale, dtype)], "q": codes}
