"""quanto's weight types in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/quanto.json.
"""

import math
from collections.abc import Callable, Sequence

from conformance.oracle import binary

__all__ = ["package_place", "shifted", "symmetric"]

Codes = dict[str, list[int]]

FORMS = {"f32": binary.FLOAT32, "bf16": binary.BFLOAT16, "f16": binary.FLOAT16}
ELEMENTS = {
    "qfloat8_e4m3fn": (binary.FLOAT8_E4M3FN, 448.0),
    "qfloat8_e4m3fnuz": (binary.FLOAT8_E4M3FNUZ, 240.0),
    "qfloat8_e5m2": (binary.FLOAT8_E5M2, 57344.0),
}


def rounding(dtype: str) -> Callable[[float], float]:
    """Rounds a binary32 number to the dtype of the weights."""
    form = FORMS[dtype]
    return lambda value: binary.decode(binary.encode(value, form), form)


def limited(value: float, low: float, high: float) -> float:
    """The nearest number in a range; NaN is 0."""
    return 0.0 if math.isnan(value) else max(low, min(high, value))


def symmetric(x: Sequence[float], kind: str, dtype: str) -> Codes:
    """The fields of a row, or of a tensor, of 8-bit codes."""
    r = rounding(dtype)
    x = [r(v) for v in x]
    form, largest = ELEMENTS.get(kind, (None, 127.0))
    scale = r(binary.divide(max(abs(v) for v in x), largest))
    quotients = [r(binary.divide(v, scale)) for v in x]
    if form is None:
        codes = [binary.half_even(limited(q, -128.0, 127.0)) for q in quotients]
    else:
        codes = [binary.encode(limited(q, -largest, largest), form) for q in quotients]
    return {"s": [binary.encode(scale, FORMS[dtype])], "q": codes}


def shifted(x: Sequence[float], bits: int, shift: str, dtype: str) -> Codes:
    """The fields of a group of 4-bit or 2-bit codes."""
    r, most = rounding(dtype), float(2**bits - 1)
    x = [r(v) for v in x]
    low, high = min(x), max(x)
    if low == 0:
        low = 0.0 if any(v == 0 and math.copysign(1, v) > 0 for v in x) else -0.0
    scale = r(binary.divide(r(abs(binary.subtract(high, low))), most))
    found = {"s": [binary.encode(scale, FORMS[dtype])]}
    if shift == "real":
        quotients = [r(binary.divide(r(binary.add(v, -low)), scale)) for v in x]
        codes = [binary.half_even(limited(q, 0.0, most)) for q in quotients]
        return {**found, "z": [binary.encode(-low, FORMS[dtype])], "q": codes}
    zero = binary.half_even(limited(r(binary.divide(-low, scale)), 0.0, most))
    codes = []
    for value in x:
        quotient = r(binary.divide(value, scale))
        if math.isfinite(quotient):
            quotient = r(float(binary.half_even(quotient) + zero))
        codes.append(binary.half_even(limited(quotient, 0.0, most)))
    return {**found, "z": [zero], "q": codes}


def package_place(group: int, groups: int, bits: int) -> tuple[int, int]:
    """Where the package puts the codes of a group: the packed row, and the shift in its bytes."""
    step = -(-groups // (8 // bits))
    part, row = divmod(group, step)
    return row, bits * part
