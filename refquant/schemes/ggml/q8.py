"""Q8_0: blocks of 32 weights, 8-bit signed codes, one float16 scale.

Codes are chosen with the scale before its rounding to float16; a tie goes away from zero. Used
for weights by llama.cpp and, with another rounding on some processors, for activations.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, field
from refquant.numerics import round_half_away
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import cast_int8, half_bits, loop_max, reciprocal

__all__ = ["Q8_0", "SCHEMES"]

F32 = NDArray[np.float32]


def encode_q8_0(x: F32) -> Mapping[str, NDArray[np.integer]]:  # f32[b, 32] -> d f16[b], q i8[b, 32]
    """The largest magnitude gets code 127 or -127; -128 is never used."""
    scale = loop_max(np.abs(x)) / np.float32(127)
    codes = cast_int8(round_half_away(x * reciprocal(scale)[:, None]))
    return {"d": half_bits(scale), "q": codes}


Q8_0 = Scheme(
    name="ggml/q8_0",
    title="8-bit signed codes, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((32,), 34)},
        {
            "d": field("blocks", FLOAT16, "0", over=32),
            "q": field("blocks", Signed(8), "32:8+16"),
        },
        ("mul", "d", "q"),
    ),
    encode=encode_q8_0,
    group=(32,),
    non_finite=True,
)

SCHEMES = (Q8_0,)
