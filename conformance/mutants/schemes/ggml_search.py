"""Wrong variants of ggml's searching formats, ternary formats and 4-bit floats."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.ggml import (
    F32,
    NIBBLES,
    PAIRS,
    Build,
    Codes,
    encoded,
    mutant,
    relaid,
)
from refquant.driver import Encoder, Scheme
from refquant.layout import Layout, Unsigned, field
from refquant.numerics import float16_bits
from refquant.schemes.ggml import fp4, iq4, k_affine, k_symmetric
from refquant.schemes.ggml.columns import columns
from refquant.schemes.ggml.fits import fit_affine
from refquant.schemes.quads import quads

__all__ = ["MUTANTS"]


def tabled(name: str, table: str, change: Callable[[F32], F32]) -> Build:
    """The scheme with another table of numbers."""

    def build() -> Scheme:
        true = refquant.scheme(f"ggml/{name}")
        old = true.layout
        tables = {**old.tables, table: change(old.tables[table].copy())}
        return replace(true, layout=Layout(true.planes, old.fields, old.value, tables))

    return build


def doubled(table: F32) -> F32:
    """Scales twice as large, the largest as it is."""
    return table + np.where(table < table.max(), table, np.float32(0))


def searched(name: str, numbers: k_affine.Recipe) -> Build:
    """The scheme with other numbers of its search."""
    return lambda: replace(
        refquant.scheme(f"ggml/{name}"), encode=partial(k_affine._encode, recipe=numbers)
    )


def untried(recipe: k_affine.Recipe) -> k_affine.Recipe:
    """A search without trials after the first."""
    return replace(recipe, search=replace(recipe.search, trials=-1))


def kept_codes(recipe: k_affine.Recipe, x: F32, _: Encoder) -> Codes:
    """Codes of the fit, not chosen again for the rounded scales."""
    codes = dict(k_affine._encode(x, recipe))
    parts = columns(x, recipe.size)
    fitted = fit_affine(parts, k_affine._own_weights(parts, recipe), recipe.search)[2]
    return {**codes, "q": fitted.T.reshape(len(x), -1).astype(np.uint8)}


def plain_q6(x: F32, _: Encoder) -> Codes:
    """All errors count the same."""
    return k_symmetric._encode_q6_k(x, np.ones((16, x.size // 16), np.float32))


def negated(x: F32, encode: Encoder) -> Codes:
    """The largest scale becomes 127 instead of -128: the sign of everything turned."""
    codes = dict(encode(-x))
    return {**codes, "d": codes["d"] ^ np.uint16(0x8000)}


def clipped_scales(x: F32, encode: Encoder) -> Codes:
    """Scales never use their lowest code."""
    codes = dict(encode(x))
    lowest = -127 if codes["sc"].dtype == np.int8 else 1
    return {**codes, "sc": np.maximum(codes["sc"], lowest)}


def mean_scale(x: F32, encode: Encoder) -> Codes:
    """The scale from the mean magnitude, as BitNet trains."""
    return {**encode(x), "d": float16_bits(np.abs(x).mean(axis=1))}


def even_ternary(x: F32, encode: Encoder) -> Codes:
    """Ties go to zero."""
    codes = dict(encode(x))
    scale = np.abs(x).max(axis=1, keepdims=True)
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    return {**codes, "q": (np.rint(quotient) + 1).astype(np.uint8)}


def floor_of_log2(x: F32, _: Encoder) -> Codes:
    """The exact exponent of the largest weight, held within 0..255."""
    largest = np.abs(x).max(axis=1)
    code = np.where(largest > 0, np.frexp(largest)[1] - 1 + 125, 0).clip(0, 254).astype(np.uint8)
    return {"e": code, "q": fp4.nearest_codes(quads(x), fp4.HALF_POWERS[code])}


def signed_zeros(x: F32, encode: Encoder) -> Codes:
    """Small negative weights keep their sign."""
    codes = dict(encode(x))
    zero = (codes["q"] == 0) & np.signbit(x)
    return {**codes, "q": np.where(zero, np.uint8(8), codes["q"])}


def larger_magnitude(x: F32, encode: Encoder) -> Codes:
    """Ties go to the larger magnitude."""
    return encode(np.nextafter(x, np.copysign(np.float32(np.inf), x)))


def smaller_scales(x: F32, encode: Encoder) -> Codes:
    """Scales rounded down."""
    codes = dict(encode(np.nextafter(x, np.float32(0))))
    return {**encode(x), "s": codes["s"] - np.minimum(codes["s"], 1)}


def fitted_once(x: F32, _: Encoder) -> Codes:
    """One fit instead of the search."""
    return iq4.encode_iq4_nl(x, 0)


def lower_neighbour(x: F32, encode: Encoder) -> Codes:
    """Half-way quotients take the lower number."""
    codes = dict(encode(x))
    return {**codes, "q": np.maximum(codes["q"].astype(np.int16) - (x > 0), 0).astype(np.uint8)}


def stored_unit(x: F32, encode: Encoder) -> Codes:
    """Scales counted from the other end."""
    codes = dict(encode(x))
    return {**codes, "sc": 63 - codes["sc"]}


AFFINE = ("sub", ("mul", ("mul", "d", "sc"), "q"), ("mul", "dmin", "mn"))
ADDED = ("add", AFFINE[1], AFFINE[2])
RECIPES = {"q2_k": k_affine.K2, "q4_k": k_affine.K4, "q5_k": k_affine.K5}
HALF_ORDER = {
    "q2_k": field("blocks", Unsigned(2), "(64,4):(8,2)+128"),
    "q4_k": field("blocks", Unsigned(4), "(4,32,2):(256,8,4)+128"),
    "q5_k": field("blocks", Unsigned(5), ((4, "(4,2,32):(256,4,8)+384"), (1, "(8,32):(32,1)+128"))),
}
"""Codes in another order: neighbours in a byte, or fifth bits in one run."""

K_AFFINE = tuple(
    row
    for name, numbers in RECIPES.items()
    for row in (
        mutant(name, "added", "the minimum is added", relaid(name, value=ADDED)),
        mutant(name, "exchanged", "scales and minima exchanged", relaid(name, sc="mn", mn="sc")),
        mutant(name, "order", "codes in another order", relaid(name, q=HALF_ORDER[name])),
        mutant(name, "untried", "no search after the first fit", searched(name, untried(numbers))),
        mutant(
            name,
            "kept",
            "codes are not chosen again for the rounded scales",
            encoded(name, partial(kept_codes, numbers)),
        ),
    )
)

OTHERS: tuple[Mutant, ...] = (
    mutant(
        "q3_k",
        "high-bit",
        "the high bit subtracts where it is set",
        relaid(
            "q3_k",
            value=("mul", ("mul", "d", ("sub", "sc", 32.0)), ("sub", 3.0, "q")),
        ),
    ),
    mutant(
        "q3_k",
        "scales",
        "the top bits of scales are in order of bytes",
        relaid(
            "q3_k",
            sc=field(
                "blocks", Unsigned(6), ((4, "(2,8):(4,8)+768"), (2, "(4,4):(8,2)+832")), over=16
            ),
        ),
    ),
    mutant("q3_k", "lowest", "scales never use their lowest code", encoded("q3_k", clipped_scales)),
    mutant("q3_k", "negated", "the largest scale is positive", encoded("q3_k", negated)),
    mutant(
        "q6_k",
        "order",
        "quarters of a half in order of bytes",
        relaid(
            "q6_k",
            q=field(
                "blocks",
                Unsigned(6),
                ((4, "(2,2,2,32):(512,256,4,8)"), (2, "(2,2,2,32):(256,4,2,8)+1024")),
            ),
        ),
    ),
    mutant(
        "q6_k",
        "unsigned",
        "scales are read as unsigned",
        relaid("q6_k", sc=field("blocks", Unsigned(8), "16:8+1536", over=16)),
    ),
    mutant("q6_k", "unweighted", "all errors count the same", encoded("q6_k", plain_q6)),
    mutant("q6_k", "lowest", "scales never use -128", encoded("q6_k", clipped_scales)),
    mutant("q6_k", "negated", "the largest scale is positive", encoded("q6_k", negated)),
    mutant(
        "iq4_nl",
        "pairs",
        PAIRS,
        relaid("iq4_nl", q=field("blocks", Unsigned(4), NIBBLES.format(16))),
    ),
    mutant(
        "iq4_nl", "table", "the table is symmetric", tabled("iq4_nl", "values", lambda t: -t[::-1])
    ),
    mutant("iq4_nl", "fit", "one fit instead of the search", encoded("iq4_nl", fitted_once)),
    mutant("iq4_nl", "lower", "codes one too low above zero", encoded("iq4_nl", lower_neighbour)),
    mutant(
        "iq4_xs",
        "scales",
        "high bits of scales read as low ones",
        relaid(
            "iq4_xs",
            sc=field("blocks", Unsigned(6), ((2, "8:2+16"), (4, "8:4+32")), over=32),
        ),
    ),
    mutant(
        "iq4_xs", "table", "the table is symmetric", tabled("iq4_xs", "values", lambda t: -t[::-1])
    ),
    mutant("iq4_xs", "mirrored", "scales from the other end", encoded("iq4_xs", stored_unit)),
    mutant("tq1_0", "mean", "the scale is a mean", encoded("tq1_0", mean_scale)),
    mutant("tq1_0", "even", "ties go to zero", encoded("tq1_0", even_ternary)),
    mutant(
        "tq1_0",
        "offset",
        "digit 0 is zero",
        relaid("tq1_0", value=("mul", "d", ("sub", "q", 0.0))),
    ),
    mutant("tq2_0", "mean", "the scale is a mean", encoded("tq2_0", mean_scale)),
    mutant("tq2_0", "even", "ties go to zero", encoded("tq2_0", even_ternary)),
    mutant(
        "tq2_0",
        "order",
        "neighbours share a byte",
        relaid("tq2_0", q=field("blocks", Unsigned(2), "(64,4):(8,2)")),
    ),
    mutant(
        "mxfp4", "pairs", PAIRS, relaid("mxfp4", q=field("blocks", Unsigned(4), NIBBLES.format(8)))
    ),
    mutant("mxfp4", "not-halved", "the scale is not halved", tabled("mxfp4", "scales", doubled)),
    mutant(
        "mxfp4",
        "signed-zero",
        "small negative weights keep their sign",
        encoded("mxfp4", signed_zeros),
    ),
    mutant("mxfp4", "up", "ties go to the larger magnitude", encoded("mxfp4", larger_magnitude)),
    mutant(
        "mxfp4",
        "saturated",
        "scale codes saturate instead of wrapping",
        encoded("mxfp4", floor_of_log2),
    ),
    mutant(
        "nvfp4",
        "pairs",
        PAIRS,
        relaid("nvfp4", q=field("blocks", Unsigned(4), "(4,8,2):(64,8,4)+32")),
    ),
    mutant("nvfp4", "not-halved", "the scale is not halved", tabled("nvfp4", "scales", doubled)),
    mutant("nvfp4", "down", "scales are one step smaller", encoded("nvfp4", smaller_scales)),
    mutant(
        "nvfp4",
        "signed-zero",
        "small negative weights keep their sign",
        encoded("nvfp4", signed_zeros),
    ),
)

MUTANTS = K_AFFINE + OTHERS
