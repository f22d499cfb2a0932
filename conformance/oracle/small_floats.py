"""Floats of 4, 6 and 8 bits in plain Python: every weight rounded once, by exact rationals."""

from typing import Literal

from conformance.oracle import binary

__all__ = ["FORMS", "decode", "encode"]

FORMS = {
    "f8_e4m3fn": binary.FLOAT8_E4M3FN,
    "f8_e5m2": binary.FLOAT8_E5M2,
    "f8_e4m3fnuz": binary.FLOAT8_E4M3FNUZ,
    "f8_e5m2fnuz": binary.FLOAT8_E5M2FNUZ,
    "f6_e2m3fn": binary.FLOAT6_E2M3,
    "f6_e3m2fn": binary.FLOAT6_E3M2,
    "f4_e2m1fn": binary.FLOAT4_E2M1,
}


def encode(value: float, name: str, overflow: str) -> int:
    """The code nearest to a binary32 number; `overflow` is saturate, inf or nan."""
    rule: Literal["saturate", "special"] = "saturate" if overflow == "saturate" else "special"
    return binary.encode(value, FORMS[name], rule)


def decode(code: int, name: str) -> float:
    """The number a code stands for."""
    return binary.decode(code, FORMS[name])
