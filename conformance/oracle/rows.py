"""Quantizers of activation rows in plain Python: one row at a time, every operation rounded once.

Written from spec/activations.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary

__all__ = ["QUANTIZERS"]

Row = Sequence[float]
Answer = tuple[list[int], float, int]


def between(low: int, value: float, high: int) -> int:
    """A number limited to two codes; its integer part is taken afterwards."""
    return int(max(low, min(value, high)))


def away(value: float) -> float:
    """The nearest integer, ties away from zero; infinities stay."""
    return value if math.isinf(value) else float(binary.half_away(value))


def even(value: float) -> float:
    """The nearest integer, ties to even; infinities stay."""
    return value if math.isinf(value) else float(binary.half_even(value))


def times(value: float, factor: float) -> float:
    """A binary32 product in which a zero stays one, whatever the factor."""
    return 0.0 if value == 0 else binary.multiply(value, factor)


def litert_symmetric(x: Row) -> Answer:
    """Codes of -127 to 127, scale amax / 127, ties away from zero."""
    amax = max(map(abs, x))
    if amax == 0:
        return [0] * len(x), 1.0, 0
    factor = binary.divide(127.0, amax)
    codes = [between(-127, away(times(v, factor)), 127) for v in x]
    return codes, binary.divide(amax, 127.0), 0


def litert_asymmetric(x: Row) -> Answer:
    """255 steps from the least to the largest with 0; zero point from the nearer side."""
    low, high = min(0.0, *x), max(0.0, *x)
    if low == high:
        return [0] * len(x), 1.0, 0
    wide = binary.subtract(high, low) / 255.0
    scale = binary.f32(Fraction(wide))
    inverse = binary.divide(1.0, scale)
    least, most = low / wide, high / wide
    from_low = 128.0 + abs(least) < 127.0 + abs(most)
    zero = between(-128, away(-128.0 - least if from_low else 127.0 - most), 127)
    codes = [between(-128, binary.add(away(times(v, inverse)), float(zero)), 127) for v in x]
    return codes, scale, zero


def xnnpack_asymmetric(x: Row) -> Answer:
    """255 / range as the factor, its reciprocal as the scale, ties to even."""
    low, high = min(0.0, *x), max(0.0, *x)
    inverse = 1.0 if low == high else binary.divide(255.0, binary.subtract(high, low))
    scale = binary.divide(1.0, inverse)
    least, most = times(low, inverse), times(high, inverse)
    nearer_high = binary.add(binary.add(-128.0, least), binary.add(127.0, most)) > 0
    side = binary.subtract(-128.0, least) if nearer_high else binary.subtract(127.0, most)
    zero = binary.half_even(max(-128.0, min(side, 127.0)))
    codes = [between(-128, binary.add(even(times(v, inverse)), float(zero)), 127) for v in x]
    return codes, scale, zero


def torchao_per_token(x: Row) -> Answer:
    """Scale of at least 2^-23, zero point -128 - rint(min / scale), ties to even."""
    low, high = min(0.0, *x), max(0.0, *x)
    scale = max(binary.divide(binary.subtract(high, low), 255.0), 2.0**-23)
    zero = between(-128, binary.subtract(-128.0, even(binary.divide(low, scale))), 127)
    inverse = binary.divide(1.0, scale)
    codes = [
        between(-128, binary.add(even(binary.multiply(v, inverse)), float(zero)), 127) for v in x
    ]
    return codes, scale, zero


QUANTIZERS: Mapping[str, Callable[[Row], Answer]] = {
    "litert_asymmetric": litert_asymmetric,
    "litert_symmetric": litert_symmetric,
    "torchao_per_token": torchao_per_token,
    "xnnpack_asymmetric": xnnpack_asymmetric,
}
