"""Q1_0 and Q2_0: one and two bits a weight under one float16 scale.

Q1_0 keeps the sign of 128 weights and their mean magnitude. Q2_0 keeps -1, 0, 1 or 2 times a
scale for 64 weights; its reference encoder never writes 2.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.numerics import round_half_away
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import (
    INT32_END,
    first_extreme,
    half_bits,
    ordered_sum,
    reciprocal,
)
from refquant.schemes.ggml.columns import columns

__all__ = ["Q1_0", "Q2_0", "SCHEMES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

LONG, SHORT = 128, 64


def encode_q1_0(x: F32) -> Codes:  # f32[b, 128] -> d f16[b], q u1[b, 128]
    """The mean is a sum from first to last over 128; -0.0 counts as positive, NaN as negative."""
    mean = ordered_sum(columns(np.abs(x), LONG)) / np.float32(LONG)
    return {"d": half_bits(mean), "q": (x >= 0).view(np.uint8)}


Q1_0 = Scheme(
    name="ggml/q1_0",
    title="signs, one float16 magnitude for 128 weights",
    layout=Layout(
        {"blocks": Plane((LONG,), 18)},
        {
            "d": field("blocks", FLOAT16, "0", over=LONG),
            "q": field("blocks", Unsigned(1), "128:1+16"),
        },
        ("mul", "d", ("sub", ("mul", 2.0, "q"), 1.0)),
    ),
    encode=encode_q1_0,
    group=(LONG,),
    non_finite=True,
)


def encode_q2_0(x: F32) -> Codes:  # f32[b, 64] -> d f16[b], q u2[b, 64]
    """The scale is the largest magnitude; ties go away from zero, what has no integer to code 0."""
    scale = np.abs(first_extreme(x))
    quotient = x * reciprocal(scale)[:, None]
    held = np.where(np.abs(quotient) < INT32_END, quotient, np.float32(-1))
    codes = np.clip(round_half_away(held) + np.float32(1), 0, 3)
    return {"d": half_bits(scale), "q": codes.astype(np.uint8)}


Q2_0 = Scheme(
    name="ggml/q2_0",
    title="2-bit codes for -1, 0, 1 and 2, one float16 scale for 64 weights",
    layout=Layout(
        {"blocks": Plane((SHORT,), 18)},
        {
            "d": field("blocks", FLOAT16, "0", over=SHORT),
            "q": field("blocks", Unsigned(2), "64:2+16"),
        },
        ("mul", "d", ("sub", "q", 1.0)),
    ),
    encode=encode_q2_0,
    group=(SHORT,),
    non_finite=True,
)

SCHEMES = (Q1_0, Q2_0)
