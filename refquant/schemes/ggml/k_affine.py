"""Q2_K, Q4_K and Q5_K: super-blocks of 256 weights whose sub-blocks have a scale and a minimum.

A weight is `(d * sc) * q - (dmin * mn)`: a sub-block's scale and minimum are integers, counted in
two float16 units of the super-block. The encoder fits each sub-block by itself, rounds the scales
and minima to integers, and then chooses all codes again for the rounded ones; a sub-block whose
scale rounds to 0 keeps the codes of the fit. Used by llama.cpp for most of the files it writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.numerics import float32_from_float16
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.c_semantics import half_bits, nearest_exact, ordered_sum
from refquant.schemes.ggml.columns import columns, importance_weights
from refquant.schemes.ggml.fits import AffineSearch, fit_affine, fit_positive

__all__ = ["Q2_K", "Q4_K", "Q5_K", "SCHEMES"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Codes = Mapping[str, NDArray[np.integer]]

SUPER = 256
ZERO = np.float32(0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers of one format: weights in a sub-block, largest code, largest scale, two searches.

    Without importance, `search.absolute` also says that an error counts by the weight's magnitude
    alone; with it, `energy` times the mean square of the super-block is added to the square.
    `spills` says that with importance a scale out of range reaches its neighbour.
    """

    size: int
    top: int
    top_scale: int
    energy: int
    search: AffineSearch
    weighted: AffineSearch
    spills: bool = False


K2 = Recipe(
    16, 3, 15, 1, AffineSearch(3, -0.5, 0.1, 15, absolute=True), AffineSearch(3, -0.9, 0.05, 36)
)
K4 = Recipe(
    32, 15, 63, 2, AffineSearch(15, -1.0, 0.1, 20), AffineSearch(15, -0.9, 0.05, 36), spills=True
)
K5 = Recipe(32, 31, 63, 2, AffineSearch(31, -0.5, 0.1, 15), AffineSearch(31, -0.9, 0.05, 36))


def _own_weights(x: F32, recipe: Recipe) -> F32:  # f32[n, m] -> f32[n, m]
    """How much each error counts without importance: the larger a weight, the more."""
    if recipe.search.absolute:
        return np.abs(x)
    mean: F32 = np.sqrt(ordered_sum(x * x) / np.float32(recipe.size))
    return mean + np.abs(x)


def _units(scale: F32, top: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """The float16 unit of each super-block's scales, f32[b, s], and the scales counted in it."""
    largest = np.fmax.reduce(scale, axis=1)  # exact: zeros become +0.0
    largest[~(largest > ZERO)] = ZERO
    inverse: F32 = np.divide(
        np.float32(top), largest, out=np.zeros_like(largest), where=largest > ZERO
    )
    counts = nearest_exact(inverse[:, None] * scale).astype(np.int32)
    return half_bits(largest / np.float32(top)), counts


def _encode(x: F32, recipe: Recipe) -> Codes:  # f32[b, 256]
    parts = columns(x, recipe.size)
    scale, low, codes = fit_affine(parts, _own_weights(parts, recipe), recipe.search)
    d, sc = _units(scale.reshape(len(x), -1), recipe.top_scale)
    dmin, mn = _units(low.reshape(len(x), -1), recipe.top_scale)
    return _finish(parts, codes, recipe, (d, sc), (dmin, mn))


def _encode_weighted(x: F32, importance: F32, recipe: Recipe) -> Codes:  # f32[rows, n], f32[n]
    importance = np.broadcast_to(importance, x.shape).reshape(-1, SUPER)
    x = x.reshape(-1, SUPER)
    parts = columns(x, recipe.size)
    weights = importance_weights(x, importance, recipe.energy)
    weights = columns(weights, recipe.size)
    scale, low, codes = fit_affine(parts, weights, recipe.weighted)
    per_block = columns(ordered_sum(weights), SUPER // recipe.size)
    units = []
    for numbers in (scale, low):
        unit, counts = fit_positive(columns(numbers, len(per_block)), per_block, recipe.top_scale)
        whole = counts.T.astype(np.int32)
        units.append((half_bits(unit), _spilled(whole) if recipe.spills else whole))
    return _finish(parts, codes, recipe, *units)


def _spilled(counts: NDArray[np.int32]) -> NDArray[np.int32]:  # i32[b, 8] -> i32[b, 8]
    """Counts as C packs unlimited bytes: top bits of the first four reach the last four."""
    first, last = counts[:, :4] & 255, counts[:, 4:] & 63
    return np.concatenate([first & 63, last | first >> 6 << 4], axis=1)


def _finish(
    parts: F32,
    codes: F32,
    recipe: Recipe,
    scales: tuple[NDArray[np.uint16], NDArray[np.int32]],
    minima: tuple[NDArray[np.uint16], NDArray[np.int32]],
) -> Codes:
    """Fields of all blocks, with every code chosen again for the rounded scales and minima."""
    (d, sc), (dmin, mn) = scales, minima
    if recipe.top_scale == 15:
        # C writes both into one byte, where a number out of range reaches its neighbour.
        both = (sc | mn << 4) & 255
        sc, mn = both & 15, both >> 4
    else:
        sc, mn = np.minimum(sc & 255, recipe.top_scale), np.minimum(mn & 255, recipe.top_scale)
    scale = (float32_from_float16(d)[:, None] * sc.astype(np.float32)).reshape(-1)
    low = (float32_from_float16(dmin)[:, None] * mn.astype(np.float32)).reshape(-1)
    again = np.clip(nearest_exact(np.divide(parts + low, scale)), ZERO, np.float32(recipe.top))
    chosen = np.where(scale == ZERO, codes, again).astype(np.uint8)
    return {"d": d, "dmin": dmin, "sc": sc, "mn": mn, "q": chosen.T.reshape(len(d), SUPER)}


FORMULA = ("sub", ("mul", ("mul", "d", "sc"), "q"), ("mul", "dmin", "mn"))

Q2_K = Scheme(
    name="ggml/q2_k",
    title="2-bit codes, a 4-bit scale and minimum for 16 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 84)},
        {
            "d": field("blocks", FLOAT16, "640", over=SUPER),
            "dmin": field("blocks", FLOAT16, "656", over=SUPER),
            "sc": field("blocks", Unsigned(4), "16:8", over=16),
            "mn": field("blocks", Unsigned(4), "16:8+4", over=16),
            "q": field("blocks", Unsigned(2), "(2,4,32):(256,2,8)+128"),
        },
        FORMULA,
    ),
    encode=lambda x: _encode(x, K2),
    encode_weighted=lambda x, importance: _encode_weighted(x, importance, K2),
    group=(SUPER,),
)

SIX_BITS = {
    "d": field("blocks", FLOAT16, "0", over=SUPER),
    "dmin": field("blocks", FLOAT16, "16", over=SUPER),
    "sc": field("blocks", Unsigned(6), "4:8+32", ((4, "4:8+96"), (2, "4:8+38")), over=32),
    "mn": field("blocks", Unsigned(6), "4:8+64", ((4, "4:8+100"), (2, "4:8+70")), over=32),
}
"""Eight 6-bit scales and minima in 12 bytes: the last four give their top bits to the first."""

Q4_K = Scheme(
    name="ggml/q4_k",
    title="4-bit codes, a 6-bit scale and minimum for 32 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 144)},
        {**SIX_BITS, "q": field("blocks", Unsigned(4), "(4,2,32):(256,4,8)+128")},
        FORMULA,
    ),
    encode=lambda x: _encode(x, K4),
    encode_weighted=lambda x, importance: _encode_weighted(x, importance, K4),
    group=(SUPER,),
)

Q5_K = Scheme(
    name="ggml/q5_k",
    title="5-bit codes, a 6-bit scale and minimum for 32 of 256 weights",
    layout=Layout(
        {"blocks": Plane((SUPER,), 176)},
        {
            **SIX_BITS,
            "q": field(
                "blocks",
                Unsigned(5),
                ((4, "(4,2,32):(256,4,8)+384"), (1, "(4,2,32):(2,1,8)+128")),
            ),
        },
        FORMULA,
    ),
    encode=lambda x: _encode(x, K5),
    encode_weighted=lambda x, importance: _encode_weighted(x, importance, K5),
    group=(SUPER,),
)

SCHEMES = (Q2_K, Q4_K, Q5_K)
