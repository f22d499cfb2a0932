"""Plain floats: every weight stored by itself, so that unquantized tensors are like any other.

Encoding rounds to nearest, ties to even. float16 overflows to infinity from 65520; a NaN becomes
quiet and keeps the bits of its payload that fit.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Encoder, Scheme
from refquant.layout import Layout, Minifloat, Plane, field
from refquant.numerics import bfloat16_bits, float16_bits

__all__ = ["BFLOAT16", "FLOAT16", "FLOAT16_SCHEME", "FLOAT32", "SCHEMES"]

F32 = NDArray[np.float32]

FLOAT32 = Minifloat(1, 8, 23, 127, "ieee")
FLOAT16 = Minifloat(1, 5, 10, 15, "ieee")
BFLOAT16 = Minifloat(1, 8, 7, 127, "ieee")


def _scheme(name: str, title: str, element: Minifloat, encode: Encoder) -> Scheme:
    layout = Layout(
        {"values": Plane((1,), element.bits // 8)},
        {"w": field("values", element, "0")},
        "w",
    )
    return Scheme(name, title, layout, encode, non_finite=True)


FLOAT16_SCHEME = _scheme(
    "float/f16", "IEEE 754 binary16", FLOAT16, lambda x: {"w": float16_bits(x)}
)

SCHEMES = (
    _scheme("float/f32", "IEEE 754 binary32", FLOAT32, lambda x: {"w": x.view(np.uint32)}),
    FLOAT16_SCHEME,
    _scheme("float/bf16", "bfloat16", BFLOAT16, lambda x: {"w": bfloat16_bits(x)}),
)
