"""TQ1_0 and TQ2_0: weights -1, 0 and 1 times one float16 scale for 256 of them.

TQ2_0 gives each weight two bits. TQ1_0 packs five ternary digits into a byte as a fraction of 243,
240 weights in 48 bytes and the last 16 in four bytes of four digits. Both are meant for models
trained to be ternary (BitNet b1.58, TriLM); others lose most of what they know.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Digits, Layout, Plane, Unsigned, field
from refquant.numerics import round_half_away
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import half_bits, reciprocal

__all__ = ["SCHEMES", "TQ1_0", "TQ2_0"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

SUPER = 256


def encode_ternary(x: F32) -> Codes:  # f32[b, 256] -> d f16[b], q u2[b, 256]
    """The scale is the largest magnitude; a weight of half of it or more becomes 1 or -1."""
    scale = np.maximum.reduce(np.abs(x), axis=1)
    quotient = x * reciprocal(scale)[:, None]
    # A scale too small for its reciprocal makes 0 * inf and inf; C's conversion gives both code 1.
    held = np.where(np.isfinite(quotient), quotient, np.float32(0))
    return {"d": half_bits(scale), "q": (round_half_away(held) + np.float32(1)).astype(np.uint8)}


TQ1_0 = Scheme(
    name="ggml/tq1_0",
    title="ternary digits, five in a byte, one float16 scale for 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 54)},
        {
            "d": field("blocks", FLOAT16, "416", over=SUPER),
            "q": field("blocks", Digits(3, 5), "32:8", "16:8+256", "4:8+384"),
        },
        ("mul", "d", ("sub", "q", 1.0)),
    ),
    encode=encode_ternary,
    group=(SUPER,),
)

TQ2_0 = Scheme(
    name="ggml/tq2_0",
    title="2-bit codes for -1, 0 and 1, one float16 scale for 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 66)},
        {
            "d": field("blocks", FLOAT16, "512", over=SUPER),
            "q": field("blocks", Unsigned(2), "(2,4,32):(256,2,8)"),
        },
        ("mul", "d", ("sub", "q", 1.0)),
    ),
    encode=encode_ternary,
    group=(SUPER,),
)

SCHEMES = (TQ1_0, TQ2_0)
