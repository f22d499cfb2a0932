"""TFLite's integers in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/tflite.json.
"""

import math
from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["integers"]

Codes = dict[str, list[int]]
RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int2": (-2, 1),
}
LARGEST = (2 - 2.0**-23) * 2.0**127


def usable(scale: float, largest: float) -> float:
    """A scale by which one can divide."""
    return min(scale, largest) or 1.0


def limited(value: float, kind: str) -> float:
    """The nearest number in the range of a type; NaN is 0."""
    least, most = RANGES[kind]
    return 0.0 if math.isnan(value) else max(float(least), min(float(most), value))


def rounded_away(value: float) -> float:
    """The nearest integer, ties away from zero."""
    return float(binary.half_away(value)) if math.isfinite(value) else value


def integers(x: Sequence[float], kind: str, *, asym: bool, half: bool, kernel: str) -> Codes:
    """The fields of a group; `half` is the dtype of the scales of blocks."""
    least, most = RANGES[kind]
    zero = 0.0
    if asym:
        low, high = min(0.0, *x), max(0.0, *x)
        extent = binary.subtract(high, low)
        scale = usable(binary.divide(extent, float(most - least)), LARGEST)
        start = binary.subtract(float(least), binary.divide(low, scale))
        zero = limited(rounded_away(start), kind)
    else:
        scale = binary.divide(max(abs(v) for v in x), float(most))
        if half:
            scale = binary.decode(
                binary.encode(min(scale, 65504.0), binary.FLOAT16), binary.FLOAT16
            )
        scale = usable(scale, 65504.0 if half else LARGEST)
    form = binary.FLOAT16 if half else binary.FLOAT32
    codes = []
    for value in x:
        if kernel == "optimized" and most >= 127:
            product = binary.multiply(value, binary.divide(1.0, scale))
            finite = 0.0 if math.isnan(product) else product
            whole = float(binary.half_even(finite)) if math.isfinite(finite) else finite
        else:
            whole = rounded_away(binary.divide(value, scale))
        codes.append(int(limited(whole + zero, kind)))
    found = {"s": [binary.encode(scale, form)], "q": codes}
    return found | ({"z": [int(zero)]} if asym else {})
