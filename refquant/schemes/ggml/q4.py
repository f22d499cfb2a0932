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
from refquant.schemes.ggml.c_semantics import cast_int8, first_extreme, half_bits, reciprocal

__all__ = ["Q4_0", "Q4_1", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

LARGEST = np.finfo(np.float32).max


def encode_q4_0(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """The weight of largest magnitude gets code 0, whatever its sign."""
    scale = first_extreme(x) / np.float32(-8)
    quotient = x * reciprocal(scale)[:, None]
    codes = np.minimum(cast_int8(quotient + np.float32(8.5)), np.int8(15))
    return {"d": half_bits(scale), "q": codes.view(np.uint8)}


Q4_0 = Scheme(
    name="ggml/q4_0",
    title="4-bit codes around 8, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((32,), 18)},
        {
            "d": field("blocks", FLOAT16, "0", over=32),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+16"),
        },
        ("mul", "d", ("sub", "q", 8.0)),
    ),
    encode=encode_q4_0,
    group=(32,),
    non_finite=True,
)


def encode_q4_1(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], m f16[b], q u4[b, 32]
    """Code 0 is the smallest weight and code 15 the largest; NaN is passed over."""
    low = np.where(x < LARGEST, x, LARGEST)
    high = np.where(x > -LARGEST, x, -LARGEST)
    smallest = np.take_along_axis(low, low.argmin(axis=1)[:, None], 1)
    largest = np.take_along_axis(high, high.argmax(axis=1)[:, None], 1)
    scale = (largest - smallest)[:, 0] / np.float32(15)
    quotient = (x - smallest) * reciprocal(scale)[:, None]
    codes = np.minimum(cast_int8(quotient + np.float32(0.5)), np.int8(15))
    return {
        "d": half_bits(scale),
        "m": half_bits(smallest[:, 0]),
        "q": codes.view(np.uint8),
    }


Q4_1 = Scheme(
    name="ggml/q4_1",
    title="4-bit codes, a float16 scale and a float16 minimum for 32 weights",
    layout=Layout(
        {"blocks": Plane((32,), 20)},
        {
            "d": field("blocks", FLOAT16, "0", over=32),
            "m": field("blocks", FLOAT16, "16", over=32),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+32"),
        },
        ("add", ("mul", "d", "q"), "m"),
    ),
    encode=encode_q4_1,
    group=(32,),
    non_finite=True,
)

SCHEMES = (Q4_0, Q4_1)
