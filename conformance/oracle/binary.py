"""Binary floating point in plain Python: exact rationals rounded once, no NumPy, no refquant.

Scalar oracles are written with these functions. A binary32 number is a Python float that binary32
can hold, so -0.0, infinities and NaN are what they are in Python; the sign and payload of a NaN
are not modelled. Every operation takes its operands exactly and rounds once to nearest, ties to
even, as IEEE 754-2019 section 4.3.1 defines.
"""

import math
import struct
from fractions import Fraction
from typing import Literal, NamedTuple

__all__ = [
    "BFLOAT16",
    "FLOAT4_E2M1",
    "FLOAT6_E2M3",
    "FLOAT6_E3M2",
    "FLOAT8_E4M3FN",
    "FLOAT8_E4M3FNUZ",
    "FLOAT8_E5M2",
    "FLOAT8_E5M2FNUZ",
    "FLOAT8_E8M0",
    "FLOAT16",
    "FLOAT32",
    "Format",
    "add",
    "bits32",
    "decode",
    "divide",
    "encode",
    "f32",
    "float32_from_bits",
    "half_away",
    "half_even",
    "half_up",
    "multiply",
    "square_root",
    "subtract",
    "toward_zero",
]

Real = Fraction | float | int


class Format(NamedTuple):
    """A small float: field widths, bias, and which codes are special (suffixes of ml_dtypes)."""

    sign: int
    exponent: int
    mantissa: int
    bias: int
    specials: Literal["ieee", "fn", "fnuz", "none", "e8m0"]

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.sign + self.exponent + self.mantissa


FLOAT32 = Format(1, 8, 23, 127, "ieee")
FLOAT16 = Format(1, 5, 10, 15, "ieee")
BFLOAT16 = Format(1, 8, 7, 127, "ieee")
FLOAT8_E4M3FN = Format(1, 4, 3, 7, "fn")
FLOAT8_E5M2 = Format(1, 5, 2, 15, "ieee")
FLOAT8_E4M3FNUZ = Format(1, 4, 3, 8, "fnuz")
FLOAT8_E5M2FNUZ = Format(1, 5, 2, 16, "fnuz")
FLOAT8_E8M0 = Format(0, 8, 0, 127, "e8m0")
FLOAT6_E2M3 = Format(1, 2, 3, 1, "none")
FLOAT6_E3M2 = Format(1, 3, 2, 3, "none")
FLOAT4_E2M1 = Format(1, 2, 1, 1, "none")


def power_of_two(exponent: int) -> Fraction:
    """`2**exponent` as a rational, for any integer."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def floor_log2(value: Fraction) -> int:
    """The largest e with `2**e <= value`, for a positive value."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power_of_two(guess) <= value else guess - 1


def half_even(value: Real) -> int:
    """The nearest integer; of two equally near, the even one."""
    return round(Fraction(value))


def half_away(value: Real) -> int:
    """The nearest integer; of two equally near, the one farther from zero."""
    exact = Fraction(value)
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    return -nearest if exact < 0 else nearest


def half_up(value: Real) -> int:
    """The nearest integer; of two equally near, the larger."""
    return math.floor(Fraction(value) + Fraction(1, 2))


def toward_zero(value: Real) -> int:
    """The integer part."""
    return math.trunc(Fraction(value))


def decode(code: int, form: Format) -> float:
    """The number that a code stands for; Python's floats hold all of them exactly."""
    fraction = code & ((1 << form.mantissa) - 1)
    field = (code >> form.mantissa) & ((1 << form.exponent) - 1)
    negative = form.sign == 1 and code >> (form.exponent + form.mantissa) == 1
    special = special_value(field, fraction, form, negative=negative)
    if special is not None:
        return -special if negative else special
    if form.specials == "e8m0":
        return float(power_of_two(field - form.bias))
    if field == 0:
        magnitude = fraction * power_of_two(1 - form.bias - form.mantissa)
    else:
        whole = fraction + (1 << form.mantissa)
        magnitude = whole * power_of_two(field - form.bias - form.mantissa)
    return -float(magnitude) if negative else float(magnitude)


def special_value(field: int, fraction: int, form: Format, *, negative: bool) -> float | None:
    """Infinity or NaN where the code is not a finite number."""
    top = field == (1 << form.exponent) - 1
    if form.specials == "ieee" and top:
        return math.nan if fraction else math.inf
    if form.specials == "fn" and top and fraction == (1 << form.mantissa) - 1:
        return math.nan
    if form.specials == "fnuz" and negative and field == 0 and fraction == 0:
        return math.nan
    if form.specials == "e8m0" and top:
        return math.nan
    return None


def largest_code(form: Format) -> int:
    """The code of the largest finite number."""
    ones = (1 << (form.exponent + form.mantissa)) - 1
    reserved = {"ieee": 1 << form.mantissa, "fn": 1, "fnuz": 0, "none": 0, "e8m0": 1}
    return ones - reserved[form.specials]


def encode(value: Real, form: Format, overflow: Literal["special", "saturate"] = "special") -> int:
    """The code nearest to `value`, ties to the even code.

    Beyond the largest number (after rounding as if the exponent had no end), `special` gives
    infinity, or NaN in formats that have none; `saturate` gives the largest number, for
    infinities too. A NaN keeps its sign and becomes quiet without a payload.
    """
    if form.specials == "e8m0":
        raise ValueError("the rounding of e8m0 is a rule of each scheme; state it there")
    negative = math.copysign(1, value) < 0 if isinstance(value, float) else value < 0
    high = (1 << (form.exponent + form.mantissa)) if negative and form.sign else 0
    if isinstance(value, float) and math.isnan(value):
        return nan_code(form, high)
    if isinstance(value, float) and math.isinf(value):
        return overflowed(form, high, overflow)
    magnitude = abs(Fraction(value))
    if negative and not form.sign and magnitude:
        raise ValueError(f"{value} is negative and {form} has no sign")
    code = nearest_code(magnitude, form)
    if code > largest_code(form):
        return overflowed(form, high, overflow)
    if code == 0 and form.specials == "fnuz":
        return 0
    return high | code


def nearest_code(magnitude: Fraction, form: Format) -> int:
    """The code of the nearest number, its exponent field allowed to run over its width."""
    if magnitude == 0:
        return 0
    exponent = max(floor_log2(magnitude), 1 - form.bias)
    steps = half_even(magnitude / power_of_two(exponent - form.mantissa))
    if steps < 1 << form.mantissa:
        return steps
    return ((exponent + form.bias) << form.mantissa) + steps - (1 << form.mantissa)


def nan_code(form: Format, high: int) -> int:
    """The NaN of a format, quiet and without a payload."""
    ones = (1 << (form.exponent + form.mantissa)) - 1
    match form.specials:
        case "ieee":
            return high | (ones ^ ((1 << (form.mantissa - 1)) - 1))
        case "fn":
            return high | ones
        case "fnuz":
            return ones + 1
    raise ValueError(f"{form} has no NaN")


def overflowed(form: Format, high: int, overflow: str) -> int:
    """What stands for a number beyond the largest."""
    if overflow == "saturate" or form.specials == "none":
        return high | largest_code(form)
    if form.specials == "ieee":
        return high | (((1 << form.exponent) - 1) << form.mantissa)
    return nan_code(form, high)


def f32(value: Real) -> float:
    """`value` rounded to binary32; magnitudes from `2**128 - 2**103` become infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return decode(encode(value, FLOAT32), FLOAT32)


def bits32(value: float) -> int:
    """The 32 bits of a binary32 number."""
    number: int = struct.unpack("<I", struct.pack("<f", value))[0]
    return number


def float32_from_bits(bits: int) -> float:
    """The binary32 number that has these 32 bits."""
    number: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return number


def _signed_zero(left: float, right: float) -> float:
    """The sum of two zeros, or of x and -x: -0.0 only where both are negative zeros."""
    negative = left == 0 and math.copysign(1, left) < 0 and math.copysign(1, right) < 0
    return -0.0 if negative else 0.0


def add(left: float, right: float) -> float:
    """`left + right`, rounded once to binary32."""
    if not (math.isfinite(left) and math.isfinite(right)):
        return left + right
    exact = Fraction(left) + Fraction(right)
    return f32(exact) if exact else _signed_zero(left, right)


def subtract(left: float, right: float) -> float:
    """`left - right`, rounded once to binary32."""
    return add(left, -right)


def multiply(left: float, right: float) -> float:
    """`left * right`, rounded once to binary32."""
    if not (math.isfinite(left) and math.isfinite(right)):
        return left * right
    return _with_sign_of(Fraction(left) * Fraction(right), left, right)


def divide(left: float, right: float) -> float:
    """`left / right`, rounded once to binary32; x/0 is infinite and 0/0 NaN."""
    if math.isnan(left) or math.isnan(right) or (math.isinf(left) and math.isinf(right)):
        return math.nan
    sign = math.copysign(1, left) * math.copysign(1, right)
    if right == 0:
        return math.nan if left == 0 else sign * math.inf
    if math.isinf(left):
        return sign * math.inf
    if math.isinf(right):
        return sign * 0.0
    return _with_sign_of(Fraction(left) / Fraction(right), left, right)


def _with_sign_of(exact: Fraction, left: float, right: float) -> float:
    sign = math.copysign(1, left) * math.copysign(1, right)
    return math.copysign(f32(abs(exact)), sign)


def square_root(value: float) -> float:
    """The square root, rounded once to binary32."""
    if not value > 0 or math.isinf(value):
        return value if value == 0 or value > 0 else math.nan
    # 2**60 quanta of the root leave more than twice the bits of binary32; the remainder decides
    # on which side of a tie the root lies, by half a quantum.
    exact = Fraction(value)
    shift = 60 - floor_log2(exact) // 2
    scaled = exact * power_of_two(2 * shift)
    root = math.isqrt(scaled.numerator // scaled.denominator)
    sticky = Fraction(0) if Fraction(root) ** 2 == scaled else Fraction(1, 2)
    return f32((root + sticky) * power_of_two(-shift))
