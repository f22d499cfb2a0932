"""tract's blocks of 32 weights: Q4_0 as ggml's, Q8_1 with a signed scale, and ternary Q2_0_T.

They are loops in Rust. Its conversion of floats to integers saturates, and NaN becomes 0, where
C leaves both undefined: blocks whose scale is too small for a reciprocal get other codes than in
ggml (their scale is stored as zero all the same). Codes follow the scale before its storage.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, Unsigned, field
from refquant.numerics import float16_bits, round_half_away
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import first_extreme, ordered_sum, reciprocal
from refquant.schemes.ggml.columns import columns

__all__ = ["Q2_0T", "Q4_0", "Q8_1", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK = 32


def cast_int8(x: F32) -> NDArray[np.int8]:  # f32[...] -> i8[...]
    """Rust's `x as i8`: toward zero, limited to -128..127, NaN is 0."""
    held = np.where(np.isnan(x), np.float32(0), x)
    return np.clip(held, -128, 127).astype(np.int8)


def encode_q4_0(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """The first weight of largest magnitude gets code 0, whatever its sign."""
    scale = first_extreme(x) / np.float32(-8)
    quotient = x * reciprocal(scale)[:, None]
    wide = np.minimum(cast_int8(quotient + np.float32(8.5)), np.int8(15)).view(np.uint8)
    # Where the reciprocal is infinite, codes may be -128, and tract writes all eight bits of the
    # code in the low nibble: its highest bit is that of the high nibble.
    wide[:, BLOCK // 2 :] |= wide[:, : BLOCK // 2] >> np.uint8(4)
    return {"d": float16_bits(scale), "q": wide & np.uint8(15)}


Q4_0 = Scheme(
    name="tract/q40",
    title="tract 4-bit codes around 8, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 18)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "q": field("blocks", Unsigned(4), "(2,16):(4,8)+16"),
        },
        ("mul", "d", ("sub", "q", 8.0)),
    ),
    encode=encode_q4_0,
    group=(BLOCK,),
)


def encode_q8_1(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], s f16[b], q i8[b, 32]
    """The first weight of largest magnitude gets code 127; the sum is that of the weights."""
    scale = first_extreme(x) / np.float32(127)
    codes = cast_int8(round_half_away(x * reciprocal(scale)[:, None]))
    return {
        "d": float16_bits(scale),
        "s": float16_bits(ordered_sum(columns(x, BLOCK))),
        "q": codes,
    }


Q8_1 = Scheme(
    name="tract/q8_1",
    title="tract 8-bit codes, a float16 scale with the sign of the extreme, and the weights' sum",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 36)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            # The bits of a float16, read as an integer so that an infinite sum stays harmless.
            "s": field("blocks", Unsigned(16), "16", over=BLOCK),
            "q": field("blocks", Signed(8), "32:8+32"),
        },
        ("mul", "d", ("add", "q", ("mul", 0.0, "s"))),
    ),
    encode=encode_q8_1,
    group=(BLOCK,),
)


def encode_q2_0t(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q u2[b, 32]
    """The scale is the mean magnitude; weights of at least half of it keep their sign."""
    scale = ordered_sum(columns(np.abs(x), BLOCK)) / np.float32(BLOCK)
    quotient = round_half_away(x * reciprocal(scale)[:, None])
    codes = cast_int8(np.clip(quotient, -1, 1)) + np.int8(1)
    return {"d": float16_bits(scale), "q": codes.view(np.uint8)}


Q2_0T = Scheme(
    name="tract/q2_0t",
    title="tract ternary codes, one float16 mean magnitude for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 10)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "q": field("blocks", Unsigned(2), "32:2+16"),
        },
        ("mul", "d", ("sub", "q", 1.0)),
    ),
    encode=encode_q2_0t,
    group=(BLOCK,),
)

SCHEMES = (Q4_0, Q8_1, Q2_0T)
