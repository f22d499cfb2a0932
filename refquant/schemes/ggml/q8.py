"""Q8_0, Q8_1 and Q8_K: 8-bit signed codes under one scale, for 32 or 256 weights.

Q8_0 stores weights and, with another rounding on some processors, activations. Q8_1 and Q8_K hold
activations only: they carry sums of their codes, which the integer products with formats that have
a minimum need. Those sums contribute nothing to a decoded value; the formulas read them times zero.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, Unsigned, field
from refquant.numerics import round_half_away
from refquant.schemes.floats import FLOAT16, FLOAT32
from refquant.schemes.ggml.c_semantics import (
    cast_int8,
    first_extreme,
    half_bits,
    loop_max,
    nearest_exact,
    reciprocal,
)
from refquant.schemes.quads import from_quads, magnitude_of, over_quads, quad_extremes, quads

__all__ = ["Q8_0", "Q8_1", "Q8_K", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK, SUPER, PART = 32, 256, 16

SIGN, BELOW_HALF = np.uint32(0x8000_0000), np.uint32(0x3EFF_FFFF)
"""The sign bit of binary32, and the bits of the largest number below one half."""


def _scale_and_codes(x: F32) -> tuple[F32, NDArray[np.int8]]:  # f32[b, 32] -> f32[b], i8[b, 32]
    parts = quads(x)
    scale: F32 = magnitude_of(*quad_extremes(parts)) / np.float32(127)
    inverse = reciprocal(scale)
    parts *= over_quads(inverse)
    # To the nearest, ties away from zero: the sum with just less than one half is truncated.
    sign = parts.view(np.uint32) & SIGN
    sign |= BELOW_HALF
    parts += sign.view(np.float32)
    codes = from_quads(parts.astype(np.int8))
    odd = ~(inverse < np.inf) | ~(scale < np.inf)
    if odd.any():
        scale[odd], codes[odd] = _slowly(x[odd])
    return scale, codes


def _slowly(x: F32) -> tuple[F32, NDArray[np.int8]]:  # f32[b, 32] -> f32[b], i8[b, 32]
    """C's loop for any block: NaN, infinities, and scales too small for a reciprocal included."""
    scale = loop_max(np.abs(x)) / np.float32(127)
    return scale, cast_int8(round_half_away(x * reciprocal(scale)[:, None]))


def encode_q8_0(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], q i8[b, 32]
    """The largest magnitude gets code 127 or -127, ties go away from zero; -128 is never used."""
    scale, codes = _scale_and_codes(x)
    return {"d": half_bits(scale), "q": codes}


Q8_0 = Scheme(
    name="ggml/q8_0",
    title="8-bit signed codes, one float16 scale for 32 weights",
    layout=Layout(
        {"blocks": Plane((BLOCK,), 34)},
        {
            "d": field("blocks", FLOAT16, "0", over=BLOCK),
            "q": field("blocks", Signed(8), "32:8+16"),
        },
        ("mul", "d", "q"),
    ),
    encode=encode_q8_0,
    group=(BLOCK,),
    non_finite=True,
)


def encode_q8_1(x: F32) -> Codes:  # f32[b, 32] -> d f16[b], s f16[b], q i8[b, 32]
    """As Q8_0, and the sum of the codes times the scale before its rounding to float16."""
    scale, codes = _scale_and_codes(x)
    total = np.add.reduce(codes, axis=1, dtype=np.int32)
    return {"d": half_bits(scale), "s": half_bits(total.astype(np.float32) * scale), "q": codes}


Q8_1 = Scheme(
    name="ggml/q8_1",
    title="8-bit signed codes for 32 activations, with a float16 scale and the sum of the block",
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
    non_finite=True,
)


def encode_q8_k(x: F32) -> Codes:  # f32[b, 256] -> d f32[b], s i16[b, 16], q i8[b, 256]
    """The first weight of largest magnitude gets code -127; only codes above 127 are clipped."""
    extreme = first_extreme(x)
    empty = extreme == 0
    inverse = np.divide(np.float32(-127), np.where(empty, np.float32(1), extreme))
    quotient = nearest_exact(x * inverse[:, None])
    codes = np.minimum(quotient, np.float32(127)).astype(np.int32).astype(np.int8)
    sums = np.add.reduce(codes.reshape(-1, SUPER // PART, PART), axis=2, dtype=np.int16)
    scale = np.where(empty, np.float32(0), np.float32(1) / inverse)
    return {"d": scale.view(np.uint32), "s": sums, "q": codes}


Q8_K = Scheme(
    name="ggml/q8_k",
    title="8-bit signed codes for 256 activations, with a float32 scale and sums of 16 codes",
    layout=Layout(
        {"blocks": Plane((SUPER,), 292)},
        {
            "d": field("blocks", FLOAT32, "0", over=SUPER),
            "s": field("blocks", Signed(16), "16:16+2080", over=PART),
            "q": field("blocks", Signed(8), "256:8+32"),
        },
        ("mul", "d", ("add", "q", ("mul", 0.0, "s"))),
    ),
    encode=encode_q8_k,
    group=(SUPER,),
)

SCHEMES = (Q8_0, Q8_1, Q8_K)
