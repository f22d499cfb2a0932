"""ggml's encoders in closed form, one weight at a time.

`ENCODERS` are those of the clauses. `FUSED` are those of a build that rounds a product and the sum
behind it once, and `spread` is what gguf-py makes of a block with a NaN.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from conformance.oracle.binary import (
    FLOAT16,
    Format,
    add,
    bits32,
    divide,
    encode,
    f32,
    floor_log2,
    half_away,
    half_even,
    multiply,
    power_of_two,
    subtract,
    toward_zero,
)
from conformance.oracle.binary import decode as decode_float

__all__ = ["E2M1_DOUBLED", "ENCODERS", "FUSED", "IQ4_VALUES", "half_e4m3", "spread"]

Block = Sequence[float]
Fields = Mapping[str, Sequence[int]]

E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
E4M3 = Format(0, 4, 3, 7, "none")


def half_bits(value: float) -> int:
    """The binary16 code of a scale."""
    return encode(value, FLOAT16)


def half_e4m3(byte: int) -> float:
    """Half of an unsigned E4M3 scale: bit 7 is ignored, 127 is 0, and 255, alone, is 240."""
    return 0.0 if byte == 127 else decode_float(byte & 127, E4M3) / 2


def extreme_of(block: Block) -> float:
    """The first weight of largest magnitude; 0.0 where all are zero."""
    extreme = 0.0
    for x in block:
        if abs(x) > abs(extreme):
            extreme = x
    return extreme


def inverse_of(scale: float) -> float:
    """`1 / scale`, and 0 for a scale of 0."""
    return divide(1.0, scale) if scale else 0.0


def byte_of(value: float) -> int:
    """Toward zero, then the low 8 bits in two's complement; 0 beyond 32 bits."""
    if not abs(value) < 2**31:
        return 0
    low = toward_zero(value) & 255
    return low - 256 if low > 127 else low


def away(value: float) -> float:
    """The nearest integer, ties away from zero; what is no number stays."""
    return float(half_away(value)) if abs(value) < 2**31 else value


def multiply_add(x: float, y: float, z: float, *, once: bool) -> float:
    """`x * y + z`, rounded after both operations, or once behind them."""
    if once:
        return f32(Fraction(x) * Fraction(y) + Fraction(z))
    return add(multiply(x, y), z)


def around_zero(block: Block, middle: int, *, once: bool = False) -> Fields:
    scale = divide(extreme_of(block), float(-middle))
    inverse = inverse_of(scale)
    codes = [byte_of(multiply_add(x, inverse, middle + 0.5, once=once)) for x in block]
    return {"d": [half_bits(scale)], "q": [min(2 * middle - 1, q) for q in codes]}


def between_extremes(block: Block, top: int, *, once: bool = False) -> Fields:
    low, high = math.inf, -math.inf
    for x in block:
        low, high = min(low, x), max(high, x)  # of which a NaN is never one
    scale = divide(subtract(high, low), float(top))
    inverse = inverse_of(scale)
    codes = [byte_of(multiply_add(subtract(x, low), inverse, 0.5, once=once)) for x in block]
    return {"d": [half_bits(scale)], "m": [half_bits(low)], "q": [min(top, q) for q in codes]}


def bytes_under_one_scale(block: Block) -> tuple[float, list[int]]:
    largest = 0.0
    for x in block:
        largest = max(abs(x), largest)  # a NaN starts it anew
    scale = divide(largest, 127.0)
    inverse = inverse_of(scale)
    return scale, [byte_of(away(multiply(x, inverse))) for x in block]


def q8_0(block: Block) -> Fields:
    scale, codes = bytes_under_one_scale(block)
    return {"d": [half_bits(scale)], "q": codes}


def q8_1(block: Block) -> Fields:
    scale, codes = bytes_under_one_scale(block)
    total = multiply(float(sum(codes)), scale)
    return {"d": [half_bits(scale)], "s": [half_bits(total)], "q": codes}


def q8_k(block: Block) -> Fields:
    extreme = extreme_of(block)
    inverse = divide(-127.0, extreme) if extreme else 0.0
    codes = []
    for x in block:
        quotient = multiply(inverse, x)
        codes.append(min(127, half_even(quotient)) if abs(quotient) < 2**22 else 0)
    sums = [sum(codes[i : i + 16]) for i in range(0, 256, 16)]
    scale = divide(1.0, inverse) if inverse else 0.0
    return {"d": [bits32(scale)], "s": sums, "q": codes}


def q1_0(block: Block) -> Fields:
    total = 0.0
    for x in block:
        total = add(total, abs(x))
    return {"d": [half_bits(divide(total, 128.0))], "q": [int(x >= 0) for x in block]}


def q2_0(block: Block) -> Fields:
    scale = abs(extreme_of(block))
    inverse = inverse_of(scale)
    codes = []
    for x in block:
        quotient = away(multiply(x, inverse))
        codes.append(min(max(int(quotient) + 1, 0), 3) if abs(quotient) < 2**31 else 0)
    return {"d": [half_bits(scale)], "q": codes}


def ternary(block: Block) -> Fields:
    scale = abs(extreme_of(block))
    inverse = inverse_of(scale)
    quotients = [away(multiply(x, inverse)) for x in block]
    codes = [int(v) + 1 if abs(v) < 2**31 else 1 for v in quotients]
    return {"d": [half_bits(scale)], "q": codes}


def nearest_e2m1(x: float, scale: float) -> int:
    """The first code whose distance, rounded to binary32, is least."""
    best, least = 0, abs(subtract(multiply(0.0, scale), x))
    for code in range(1, 16):
        distance = abs(subtract(multiply(float(E2M1_DOUBLED[code]), scale), x))
        if distance < least:
            best, least = code, distance
    return best


LOG2_E = Fraction(14426950408889634, 10**16)


def floor_of_rounded_log2(value: float) -> int:
    """`floor(log2(value))`, where log2 is first rounded to binary32.

    Next below `2**k` the logarithm is `k - t * log2(e)` with `value = 2**k * (1 - t)`, to within
    a square of t.
    """
    exact = Fraction(value)
    below = floor_log2(exact)
    t = 1 - exact / power_of_two(below + 1)
    if t < Fraction(1, 1 << 12) and f32((below + 1) - t * LOG2_E) == below + 1:
        return below + 1
    return below


def mxfp4(block: Block) -> Fields:
    largest = abs(extreme_of(block))
    usable = 0 < largest < math.inf
    code = (floor_of_rounded_log2(largest) - 2 + 127) % 256 if usable else 0
    scale = float(power_of_two(code - 128))
    return {"e": [code], "q": [nearest_e2m1(x, scale) for x in block]}


def e4m3_half_up(value: float) -> int:
    """The unsigned E4M3 code of a positive number: ties up, at most 126, subnormals at most 7."""
    if value <= 0:
        return 0
    exact = Fraction(min(value, 448.0))
    exponent = floor_log2(exact)
    if exponent < -6:
        return min(toward_zero(add(f32(exact * 512), 0.5)), 7)
    if exponent >= 8:
        return 126
    steps = toward_zero(exact / power_of_two(exponent - 3) + Fraction(1, 2))
    return min(((exponent + 7) << 3) + steps - 8, 126) if steps < 16 or exponent < 7 else 126


def nvfp4(block: Block) -> Fields:
    scales, codes = [], []
    for start in range(0, 64, 16):
        part = block[start : start + 16]
        scales.append(e4m3_half_up(divide(abs(extreme_of(part)), 6.0)))
        codes += [nearest_e2m1(x, half_e4m3(scales[-1])) for x in part]
    return {"s": scales, "q": codes}


ENCODERS: Mapping[str, Callable[[Block], Fields]] = {
    "q1_0": q1_0,
    "q2_0": q2_0,
    "q4_0": partial(around_zero, middle=8),
    "q4_1": partial(between_extremes, top=15),
    "q5_0": partial(around_zero, middle=16),
    "q5_1": partial(between_extremes, top=31),
    "q8_0": q8_0,
    "q8_1": q8_1,
    "q8_k": q8_k,
    "tq1_0": ternary,
    "tq2_0": ternary,
    "mxfp4": mxfp4,
    "nvfp4": nvfp4,
}

FUSED: Mapping[str, Callable[[Block], Fields]] = {
    "q4_0": partial(around_zero, middle=8, once=True),
    "q4_1": partial(between_extremes, top=15, once=True),
    "q5_0": partial(around_zero, middle=16, once=True),
    "q5_1": partial(between_extremes, top=31, once=True),
}
"""The encoders in which one product alone can be fused with one sum."""

QUIET_NAN = 0x7E00


def spread(name: str, block: Block) -> Fields:
    """gguf-py: a NaN makes the block's numbers NaN, and its codes 0; other blocks are as ever."""
    fields = ENCODERS[name](block)
    if not any(math.isnan(x) for x in block):
        return fields
    return {key: [QUIET_NAN if key in "dm" else 0] * len(one) for key, one in fields.items()}
