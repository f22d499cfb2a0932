"""The MX formats in plain Python: one block at a time, exact rationals rounded once.

Written from the clauses of the `mx/` ledger; `floor`, `ceil` and `even` read the exponent of the
largest magnitude from its binary32 bits, as the clauses say.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from conformance.oracle import binary, ggml_closed, mlx

__all__ = ["decode", "encode"]

FORMS = {
    "mxfp8_e4m3": (binary.FLOAT8_E4M3FN, 8, 448.0),
    "mxfp8_e5m2": (binary.FLOAT8_E5M2, 15, 57344.0),
    "mxfp6_e2m3": (binary.FLOAT6_E2M3, 2, 7.5),
    "mxfp6_e3m2": (binary.FLOAT6_E3M2, 4, 28.0),
    "mxfp4": (binary.FLOAT4_E2M1, 2, 6.0),
}


def encode(x: Sequence[float], name: str, rule: str, least: str) -> tuple[int, list[int]]:
    """The scale's code and the codes of a block's elements."""
    largest = max(abs(v) for v in x)
    emax, top, mantissa = 0, 127 / 64, 6
    if name != "mxint8":
        form, emax, top = FORMS[name]
        mantissa = form.mantissa
    if rule in ("ggml", "mlx_old", "mlx_new"):
        code = engine_code(largest, rule, emax, top)
    else:
        code = max(0, min(254, scale_code(largest, rule, emax, top, mantissa)))
    divisor = binary.power_of_two(code - 127)
    if code == 0 and least == "torchao":
        divisor = Fraction(1) if rule == "rceil" else binary.power_of_two(-126)
    if code == 255:
        x = [math.copysign(0.0, v) for v in x]
    return code, [element(v, divisor, name) for v in x]


def engine_code(largest: float, rule: str, emax: int, top: float) -> int:
    """The scale by the rules of engines, which wraps around."""
    if rule == "ggml":
        return (ggml_closed.floor_of_rounded_log2(largest) - emax + 127) % 256 if largest else 0
    quotient = binary.divide(largest, top)
    if not quotient:
        return 127
    return (mlx.exponent_of(Fraction(quotient), "ceil" if rule == "mlx_new" else "") + 127) % 256


def scale_code(largest: float, rule: str, emax: int, top: float, mantissa: int) -> int:
    """The scale before it is held to 0..254."""
    if rule == "rceil":
        quotient = Fraction(binary.divide(largest, top))
        if quotient <= binary.power_of_two(-127):
            return 0
        power = binary.floor_log2(quotient)
        return power + 127 + (binary.power_of_two(power) < quotient)
    bits = binary.bits32(largest)
    if rule == "even":
        bits += 1 << (22 - mantissa)
    more = rule == "ceil" and bits % (1 << 23) > 0
    return (bits >> 23) + more - emax


def element(value: float, divisor: Fraction, name: str) -> int:
    """The code of one element."""
    if name == "mxint8":
        return max(-127, min(127, binary.half_even(Fraction(value) / divisor * 64)))
    form = FORMS[name][0]
    exact = abs(Fraction(value)) / divisor
    code = binary.encode(exact, form, "saturate")
    negative = binary.bits32(value) >> 31
    return code | negative << (form.exponent + form.mantissa)


def decode(scale: int, code: int, name: str) -> float:
    """`2**(scale - 127) * element`, rounded once to binary32; scale 255 is NaN."""
    power = binary.decode(scale, binary.FLOAT8_E8M0)
    if name == "mxint8":
        return binary.multiply(power, binary.multiply(float(code), 1 / 64))
    return binary.multiply(power, binary.decode(code, FORMS[name][0]))
