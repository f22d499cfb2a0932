"""Floats of 4, 6 and 8 bits, every weight stored by itself, without any scale.

Encoding rounds to nearest, ties to even. Frameworks differ in what stands for a weight beyond the
largest number: ml_dtypes, and torch before 2.12, store NaN or infinity; ONNX's `saturate=1`, and
torch since for E4M3FN, store the largest number, for infinities too. Formats of fewer than 8 bits
have no NaN and no infinities and always saturate; codes are packed low bits first.
"""

from collections.abc import Mapping
from functools import partial
from math import gcd
from typing import Literal

from refquant.driver import Scheme
from refquant.layout import Layout, Minifloat, Plane, field
from refquant.numerics import minifloat_bits
from refquant.schemes.names import Family, Knob

__all__ = [
    "FAMILIES",
    "FLOAT4_E2M1",
    "FLOAT6_E2M3",
    "FLOAT6_E3M2",
    "FLOAT8_E4M3FN",
    "FLOAT8_E4M3FNUZ",
    "FLOAT8_E5M2",
    "FLOAT8_E8M0",
    "SCHEMES",
    "form_of",
]

FLOAT8_E4M3FN = Minifloat(1, 4, 3, 7, "fn")
FLOAT8_E5M2 = Minifloat(1, 5, 2, 15, "ieee")
FLOAT8_E4M3FNUZ = Minifloat(1, 4, 3, 8, "fnuz")
FLOAT8_E5M2FNUZ = Minifloat(1, 5, 2, 16, "fnuz")
FLOAT8_E8M0 = Minifloat(0, 8, 0, 127, "e8m0")
FLOAT6_E2M3 = Minifloat(1, 2, 3, 1, "none")
FLOAT6_E3M2 = Minifloat(1, 3, 2, 3, "none")
FLOAT4_E2M1 = Minifloat(1, 2, 1, 1, "none")


def form_of(element: Minifloat) -> tuple[int, int, int, int, str]:
    """The five numbers of a format, as `refquant.numerics` takes them."""
    return element.sign, element.exponent, element.mantissa, element.bias, element.specials


def packed_layout(element: Minifloat) -> Layout:
    """Codes in the fewest whole bytes, low bits first."""
    count = 8 // gcd(element.bits, 8)
    place = f"{count}:{element.bits}+0" if count > 1 else "0"
    planes = {"values": Plane((count,), count * element.bits // 8)}
    return Layout(planes, {"w": field("values", element, place)}, "w")


def _family(name: str, title: str, element: Minifloat) -> Family:
    special = "inf" if element.specials == "ieee" else "nan"
    meaning = f"weights beyond the largest number become it, or {special}"
    knob = Knob("overflow", meaning, ("saturate", special), "saturate")

    def build(knobs: Mapping[str, str | int]) -> Scheme:
        rule: Literal["saturate", "special"] = (
            "saturate" if knobs["overflow"] == "saturate" else "special"
        )
        return Scheme(
            f"{name}[overflow={knobs['overflow']}]",
            title,
            packed_layout(element),
            lambda x: {"w": minifloat_bits(x, form_of(element), rule)},
            non_finite=True,
            parameters=dict(knobs),
        )

    return Family(name, title, (knob,), build)


def _scheme(name: str, title: str, element: Minifloat) -> Scheme:
    encode = partial(minifloat_bits, form=form_of(element))
    return Scheme(name, title, packed_layout(element), lambda x: {"w": encode(x)}, ragged=True)


FAMILIES = (
    _family("float/f8_e4m3fn", "8-bit floats to 448, no infinities (OCP E4M3)", FLOAT8_E4M3FN),
    _family("float/f8_e5m2", "8-bit floats to 57344, as IEEE 754 (OCP E5M2)", FLOAT8_E5M2),
    _family("float/f8_e4m3fnuz", "8-bit floats to 240, one zero, one NaN", FLOAT8_E4M3FNUZ),
    _family("float/f8_e5m2fnuz", "8-bit floats to 57344, one zero, one NaN", FLOAT8_E5M2FNUZ),
)

SCHEMES = (
    _scheme("float/f6_e2m3fn", "6-bit floats to 7.5", FLOAT6_E2M3),
    _scheme("float/f6_e3m2fn", "6-bit floats to 28", FLOAT6_E3M2),
    _scheme("float/f4_e2m1fn", "4-bit floats to 6", FLOAT4_E2M1),
)
