"""compressed-tensors' formats in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/ct.json.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["floats", "integers", "mxfp4", "nvfp4"]

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


def element(quotient: float) -> int:
    """The nearest E2M1 code, ties to even; NaN and zeros of either sign have code 0."""
    if quotient == 0 or math.isnan(quotient):
        return 0
    return binary.encode(quotient, binary.FLOAT4_E2M1, "saturate")


def nvfp4(x: Sequence[float], dtype: str) -> Codes:
    """The fields of a whole tensor."""
    r = rounding(dtype)
    x = [r(v) for v in x]
    most = max(2.0**-126, *(abs(v) for v in x))
    divisor = r(binary.multiply(r(binary.divide(1.0, most)), 2688.0))
    if math.isinf(divisor):
        divisor = 1.0
    found: Codes = {"g": [binary.encode(divisor, binary.FLOAT32)], "s": [], "q": []}
    for start in range(0, len(x), 16):
        block = x[start : start + 16]
        sixth = r(binary.divide(max(abs(v) for v in block), 6.0))
        scale = min(binary.multiply(divisor, sixth), 448.0)
        known = math.nan if math.isnan(scale) else scale
        bits = binary.encode(known, binary.FLOAT8_E4M3FN) or 0x20
        whole = binary.divide(binary.decode(bits, binary.FLOAT8_E4M3FN), divisor)
        found["s"].append(bits)
        found["q"] += [element(binary.divide(v, whole)) for v in block]
    return found


def mxfp4(x: Sequence[float], dtype: str) -> Codes:
    """The fields of a block of 32."""
    r = rounding(dtype)
    x = [r(v) for v in x]
    most = max(abs(v) for v in x)
    exponent = 128 if math.isinf(most) else -127
    if 0 < most < math.inf:
        exponent = binary.floor_log2(Fraction(most))
        exponent += most >= Fraction(7, 4) * binary.power_of_two(exponent)
    code = max(exponent + 125, 0)
    scale = binary.decode(code, binary.FLOAT8_E8M0)
    return {"s": [code], "q": [element(r(binary.divide(v, scale))) for v in x]}
