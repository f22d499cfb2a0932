"""Q5_0 and Q5_1: as Q4_0 and Q4_1, with the fifth bits of 32 codes in a 32-bit word of their own.

Bit j of the word belongs to weight j, while the low nibbles are split in halves: byte j holds
weights j and j + 16. Q5_1's largest code needs no clip: 31.5 truncates to 31.
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

__all__ = ["Q5_0", "Q5_1", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK = 32
NO_LIMIT = 127


def encode_q5_0(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q u5[b, 32]
    """The weight of largest magnitude gets code 0, whatever its sign."""
    scale, codes = around_zero(x, 16)
    return {"d": scale, "q": codes}


def encode_q5_0_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """The scale of least weighted squared error out of 19 trials."""
    scale, codes = around_zero_weighted(x, importance, 16, BLOCK)
    return {"d": scale, "q": codes}


Q5_0 = Scheme(
    name="ggml/q5_0",
    title="5-bit codes around 16, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 22)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "q": field("blocks", Unsigned(5), ((4, "(2,16):(4,8)+48"), (1, "32:1+16"))),
        },
        ("mul", "d", ("sub", "q", 16.0)),
    ),
    encode=encode_q5_0,
    encode_weighted=encode_q5_0_weighted,
    group=(BLOCK,),
    non_finite=True,
)


def encode_q5_1(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], m f16[b], q u5[b, 32]
    """Code 0 is the smallest weight and code 31 the largest; NaN is passed over."""
    scale, least, codes = between_extremes(x, 31, NO_LIMIT)
    return {"d": scale, "m": least, "q": codes}


def encode_q5_1_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Scale and minimum of least weighted squared error out of 38 trials."""
    scale, least, codes = between_extremes_weighted(x, importance, 31, BLOCK)
    return {"d": scale, "m": least, "q": codes}


Q5_1 = Scheme(
    name="ggml/q5_1",
    title="5-bit codes, a float16 scale and a float16 minimum for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 24)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "m": field("blocks", FLOAT16, "16", over=BLOCK),
            "q": field("blocks", Unsigned(5), ((4, "(2,16):(4,8)+64"), (1, "32:1+32"))),
        },
        ("add", ("mul", "d", "q"), "m"),
    ),
    encode=encode_q5_1,
    encode_weighted=encode_q5_1_weighted,
    group=(BLOCK,),
    non_finite=True,
)

SCHEMES = (Q5_0, Q5_1)
