"""IQ4_NL and IQ4_XS: 4-bit codes into a fixed table of 16 unevenly spaced numbers.

The table is denser around zero, as weights are. IQ4_NL has one float16 scale for 32 weights;
IQ4_XS has a 6-bit scale for each 32 of 256. IQ4_NL has two encoders in ggml: `search`, which
`ggml_quantize_chunk` and so every converted file uses, tries 15 scales; `fit` (`from_float_ref`)
solves once.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import (
    first_extreme_of_rows,
    half_bits,
    nearest_exact,
    ordered_sum,
    reciprocal,
)
from refquant.schemes.ggml.columns import columns, importance_weights
from refquant.schemes.ggml.fits import LEAST_EXTREME
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES", "IQ4_NL", "IQ4_XS", "SCHEMES"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Codes = Mapping[str, NDArray[np.integer]]

BLOCK, SUPER = 32, 256
ZERO, ONE = np.float32(0), np.float32(1)

VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)

OFFSET = 256


def _steps() -> U8:  # -> u8[512]
    """Code for each half step: entry `floor(2 * v) + 256` for a quotient v.

    A quotient half-way between two numbers of the table takes the upper one, and all such points
    are multiples of one half.
    """
    halves = np.arange(-OFFSET, OFFSET)
    doubled_middles = VALUES[1:] + VALUES[:-1]
    found: U8 = np.searchsorted(doubled_middles, halves, side="right").astype(np.uint8)
    return found


STEPS = _steps()


def table_codes(parts: F32, inverse: F32) -> U8:  # f32[n, m], f32[m] -> u8[n, m]
    """The code of the number nearest to `weight * inverse`; a NaN gets the last one, as in C."""
    quotient = parts * inverse
    broken = np.isnan(quotient)
    doubled = np.floor(np.clip(quotient, np.float32(-128), np.float32(127)) * np.float32(2))
    if broken.any():
        doubled[broken] = OFFSET - 1
    codes: U8 = np.take(STEPS, doubled.astype(np.int16) + np.int16(OFFSET))
    return codes


def _sums(parts: F32, weights: F32, codes: U8) -> tuple[F32, F32]:
    """Weighted products of table numbers with weights and with themselves."""
    values = np.take(VALUES, codes)
    weighted = weights * values
    return ordered_sum(weighted * parts), ordered_sum(weighted * values)


def fit_table(
    parts: F32, weights: F32, reach: int
) -> tuple[F32, U8]:  # f32[n, m], f32[n, m] -> f32[m], u8[n, m]; codes of the first trial
    """Scale of least weighted squared error; `2 * reach + 1` further trials where reach > 0.

    The first trial maps the weight of largest magnitude to the first number of the table, with
    the opposite sign where further trials follow; these move that number by whole units.
    """
    extreme = first_extreme_of_rows(parts)
    zero = np.abs(extreme) < LEAST_EXTREME
    extreme[zero] = ONE
    first = -extreme / VALUES[0] if reach else extreme / VALUES[0]
    codes = table_codes(parts, np.divide(ONE, first))
    products, squares = _sums(parts, weights, codes)
    scale = np.divide(products, squares, out=np.zeros_like(products), where=squares > ZERO)
    best = scale * products
    for k in range(-reach, reach + 1) if reach else ():
        trial = table_codes(parts, np.divide(np.float32(k) + VALUES[0], extreme))
        products, squares = _sums(parts, weights, trial)
        better = (squares > ZERO) & (products * products > best * squares)
        np.divide(products, squares, out=scale, where=better)
        np.copyto(best, scale * products, where=better)
    scale[zero] = ZERO
    codes[:, zero] = STEPS[OFFSET]
    return scale, codes


def _encode_nl(parts: F32, weights: F32, reach: int) -> Codes:  # f32[32, b], f32[32, b]
    scale, codes = fit_table(parts, weights, reach)
    if reach:
        codes = table_codes(parts, reciprocal(scale))
    return {"d": half_bits(scale), "q": codes.T}


def encode_iq4_nl(x: F32, reach: int) -> Codes:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """Errors count with the square of the weight."""
    parts = columns(x, BLOCK)
    return _encode_nl(parts, parts * parts, reach)


def encode_iq4_nl_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Importance times a root mean square of the weight and its block; always the search."""
    importance = np.broadcast_to(importance, x.shape).reshape(-1, BLOCK)
    weights = importance_weights(x.reshape(-1, BLOCK), importance, 2)
    return _encode_nl(columns(x, BLOCK), columns(weights, BLOCK), 7)


NL_LAYOUT = Layout(
    {"blocks": Plane((BLOCK,), 18)},
    {
        "d": field("blocks", FLOAT16, "0", over=BLOCK),
        "q": field("blocks", Unsigned(4), "(2,16):(4,8)+16"),
    },
    ("mul", "d", ("lut", "values", "q")),
    {"values": VALUES},
)


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    search = knobs["encoder"] == "search"
    return Scheme(
        name="ggml/iq4_nl" if search else "ggml/iq4_nl[encoder=fit]",
        title="4-bit codes into a table of 16 numbers, one float16 scale for 32 weights",
        layout=NL_LAYOUT,
        encode=partial(encode_iq4_nl, reach=7 if search else 0),
        encode_weighted=encode_iq4_nl_weighted if search else None,
        group=(BLOCK,),
        parameters=knobs,
    )


IQ4_NL = Family(
    name="ggml/iq4_nl",
    title="4-bit codes into a table of 16 numbers, one float16 scale for 32 weights",
    knobs=(
        Knob(
            "encoder", "how the scale is found: 16 trials, or one fit", ("search", "fit"), "search"
        ),
    ),
    build=_build,
)


def _encode_xs(x: F32, weights: F32) -> Codes:  # f32[b, 256], f32[32, m]
    """Scales in units of the unrounded `d`: a 32nd of the largest, which becomes -32."""
    parts = columns(x, BLOCK)
    scale, _ = fit_table(parts, weights, 7)
    extreme = first_extreme_of_rows(columns(scale, SUPER // BLOCK))
    unit = -extreme / np.float32(32)
    counts = nearest_exact(reciprocal(unit)[:, None] * scale.reshape(-1, SUPER // BLOCK))
    counts = np.clip(counts, np.float32(-32), np.float32(31))
    inverse = reciprocal((unit[:, None] * counts).reshape(-1))
    codes = table_codes(parts, inverse)
    stored = (counts + np.float32(32)).astype(np.uint8)
    return {"d": half_bits(unit), "sc": stored, "q": codes.T.reshape(-1, SUPER)}


def encode_iq4_xs(x: F32) -> Codes:  # f32[b, 256] -> d f16[b], sc u6[b, 8], q u4[b, 256]
    """Errors count with the square of the weight."""
    parts = columns(x, BLOCK)
    return _encode_xs(x, parts * parts)


def encode_iq4_xs_weighted(x: F32, importance: F32) -> Codes:  # f32[rows, n], f32[n]
    """Importance times a root mean square of the weight and its super-block."""
    importance = np.broadcast_to(importance, x.shape).reshape(-1, SUPER)
    x = x.reshape(-1, SUPER)
    return _encode_xs(x, columns(importance_weights(x, importance, 2), BLOCK))


IQ4_XS = Scheme(
    name="ggml/iq4_xs",
    title="4-bit codes into a table of 16 numbers, a 6-bit scale for 32 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 136)},
        {
            "d": field("blocks", FLOAT16, "0", over=SUPER),
            "sc": field("blocks", Unsigned(6), ((4, "8:4+32"), (2, "8:2+16")), over=BLOCK),
            "q": field("blocks", Unsigned(4), "(8,2,16):(128,4,8)+64"),
        },
        ("mul", ("mul", "d", ("sub", "sc", 32.0)), ("lut", "values", "q")),
        {"values": VALUES},
    ),
    encode=encode_iq4_xs,
    encode_weighted=encode_iq4_xs_weighted,
    group=(SUPER,),
)

SCHEMES = (IQ4_XS,)
FAMILIES = (IQ4_NL,)
