"""Q3_K and Q6_K: super-blocks of 256 weights, a signed integer scale for each 16 of them.

A weight is `(d * scale) * code` with codes around zero. The encoder fits each 16 weights by
themselves, rounds the scales to integers of 6 or 8 bits in units of the float16 number `d`, and
chooses all codes again; 16 weights whose scale rounds to 0 keep the codes of the fit. Used by
llama.cpp, Q6_K above all for output layers.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, Unsigned, field
from refquant.numerics import float32_from_float16
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import (
    first_extreme_of_rows,
    half_bits,
    nearest_exact,
    ordered_sum,
)
from refquant.schemes.ggml.columns import columns, importance_weights
from refquant.schemes.ggml.fits import LEAST_EXTREME, fit_descending, fit_symmetric

__all__ = ["Q3_K", "Q6_K", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

SUPER, SIZE = 256, 16
ZERO, ONE = np.float32(0), np.float32(1)


def _again(parts: F32, codes: F32, scale: F32, top: int) -> NDArray[np.uint8]:
    """Codes for the rounded scales, f32[m]; those of the fit where a scale is 0."""
    rounded = np.clip(nearest_exact(parts / scale), np.float32(-top), np.float32(top - 1))
    chosen = np.where(scale == ZERO, codes, rounded + np.float32(top)).astype(np.uint8)
    return chosen.T.reshape(-1, SUPER)


def encode_q3_k(x: F32) -> Codes:  # f32[b, 256] -> d f16[b], sc u6[b, 16], q u3[b, 256]
    """Fit by descent; the scale of largest magnitude becomes -32."""
    parts = columns(x, SIZE)
    scale, codes = fit_descending(parts, 4)
    extreme = first_extreme_of_rows(columns(scale, SIZE))
    empty = extreme == ZERO
    inverse: F32 = np.divide(np.float32(-32), np.where(empty, ONE, extreme))
    counts = nearest_exact(inverse[:, None] * scale.reshape(-1, SIZE))
    # C narrows to 8 bits before it clips.
    sc = np.clip(counts.astype(np.int32).astype(np.int8), -32, 31).astype(np.int32) + 32
    sc[empty] = 0
    return _finish_q3_k(parts, codes, np.where(empty, ZERO, ONE / inverse), sc)


def _finish_q3_k(parts: F32, codes: F32, d: F32, sc: NDArray[np.int32]) -> Codes:
    bits = half_bits(d)
    scale = float32_from_float16(bits)[:, None] * (sc - 32).astype(np.float32)
    return {"d": bits, "sc": sc, "q": _again(parts, codes, scale.reshape(-1), 4)}


def encode_q3_k_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Symmetric fits of the weights, then of the scales, with importance times a mean square."""
    importance = np.broadcast_to(importance, x.shape).reshape(-1, SUPER)
    x = x.reshape(-1, SUPER)
    weights = columns(importance_weights(x, importance, 2), SIZE)
    parts = columns(x, SIZE)
    scale, codes = fit_symmetric(parts, weights, 4)
    d, counts = fit_symmetric(columns(scale, SIZE), columns(ordered_sum(weights), SIZE), 32)
    return _finish_q3_k(parts, codes, d, counts.T.astype(np.int32))


Q3_K = Scheme(
    name="ggml/q3_k",
    title="3-bit codes, a 6-bit signed scale for 16 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 110)},
        {
            "d": field("blocks", FLOAT16, "864", over=SUPER),
            "sc": field(
                "blocks", Unsigned(6), ((4, "(2,8):(4,8)+768"), (2, "(4,4):(2,8)+832")), over=SIZE
            ),
            "q": field("blocks", Unsigned(3), ((2, "(2,4,32):(256,2,8)+256"), (1, "(8,32):(1,8)"))),
        },
        ("mul", ("mul", "d", ("sub", "sc", 32.0)), ("sub", "q", 4.0)),
    ),
    encode=encode_q3_k,
    encode_weighted=encode_q3_k_weighted,
    group=(SUPER,),
)


def _encode_q6_k(x: F32, weights: F32) -> Codes:  # f32[b, 256], f32[16, m]
    parts = columns(x, SIZE)
    scale, codes = fit_symmetric(parts, weights, 32)
    extreme = first_extreme_of_rows(columns(scale, SIZE))
    empty = np.abs(extreme) < LEAST_EXTREME
    inverse: F32 = np.divide(np.float32(-128), np.where(empty, ONE, extreme))
    counts = nearest_exact(inverse[:, None] * scale.reshape(-1, SIZE))
    sc = np.minimum(counts, np.float32(127)).astype(np.int32).astype(np.int8)
    d = half_bits(np.where(empty, ZERO, ONE / inverse))
    rounded = float32_from_float16(d)[:, None] * sc.astype(np.float32)
    chosen = _again(parts, codes, rounded.reshape(-1), 32)
    sc[empty], chosen[empty] = 0, 0
    return {"d": d, "sc": sc, "q": chosen}


def encode_q6_k(x: F32) -> Codes:  # f32[b, 256] -> d f16[b], sc i8[b, 16], q u6[b, 256]
    """Errors count with the square of the weight; the largest scale becomes -128."""
    parts = columns(x, SIZE)
    return _encode_q6_k(x, parts * parts)


def encode_q6_k_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Errors count with the importance alone."""
    weights = np.broadcast_to(importance, x.shape)
    return _encode_q6_k(x.reshape(-1, SUPER), columns(weights, SIZE))


Q6_K = Scheme(
    name="ggml/q6_k",
    title="6-bit codes, an 8-bit signed scale for 16 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 210)},
        {
            "d": field("blocks", FLOAT16, "1664", over=SUPER),
            "sc": field("blocks", Signed(8), "16:8+1536", over=SIZE),
            "q": field(
                "blocks",
                Unsigned(6),
                ((4, "(2,2,2,32):(512,4,256,8)"), (2, "(2,2,2,32):(256,4,2,8)+1024")),
            ),
        },
        ("mul", ("mul", "d", "sc"), ("sub", "q", 32.0)),
    ),
    encode=encode_q6_k,
    encode_weighted=encode_q6_k_weighted,
    group=(SUPER,),
)

SCHEMES = (Q3_K, Q6_K)
