"""Q4_0 and Q4_1: blocks of 32 weights, 4-bit codes, one or two float16 parameters.

The first half of a block lies in the low nibbles, the second half in the high nibbles. Codes are
chosen with the scale before its rounding to float16, by a multiplication with its reciprocal and
a truncation after adding one half, so a tie goes up. Used by llama.cpp, and by every engine that
reads its oldest files.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.closed_form import (
    around_zero,
    around_zero_weighted,
    between_extremes,
    between_extremes_weighted,
)

__all__ = ["Q4_0", "Q4_1", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK = 32


def encode_q4_0(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """The weight of largest magnitude gets code 0, whatever its sign."""
    scale, codes = around_zero(x, 8)
    return {"d": scale, "q": codes}


def encode_q4_0_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """The scale of least weighted squared error out of 19 trials."""
    scale, codes = around_zero_weighted(x, importance, 8, BLOCK)
    return {"d": scale, "q": codes}


Q4_0 = Scheme(
    name="ggml/q4_0",
    title="4-bit codes around 8, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 18)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+16"),
        },
        ("mul", "d", ("sub", "q", 8.0)),
    ),
    encode=encode_q4_0,
    encode_weighted=encode_q4_0_weighted,
    group=(BLOCK,),
    non_finite=True,
)


def encode_q4_1(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], m f16[b], q u4[b, 32]
    """Code 0 is the smallest weight and code 15 the largest; NaN is passed over."""
    scale, least, codes = between_extremes(x, 15, 15)
    return {"d": scale, "m": least, "q": codes}


def encode_q4_1_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Scale and minimum of least weighted squared error out of 38 trials."""
    scale, least, codes = between_extremes_weighted(x, importance, 15, BLOCK)
    return {"d": scale, "m": least, "q": codes}


Q4_1 = Scheme(
    name="ggml/q4_1",
    title="4-bit codes, a float16 scale and a float16 minimum for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 20)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "m": field("blocks", FLOAT16, "16", over=BLOCK),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+32"),
        },
        ("add", ("mul", "d", "q"), "m"),
    ),
    encode=encode_q4_1,
    encode_weighted=encode_q4_1_weighted,
    group=(BLOCK,),
    non_finite=True,
)

SCHEMES = (Q4_0, Q4_1)
