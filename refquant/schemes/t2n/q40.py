"""torch-to-nnef's Q40: 4-bit codes around 8, a float16 scale of 32 weights, never positive.

The scale is the largest magnitude over -8, so a positive extreme gets code 0 and a negative one is
clipped to 7/8 of itself. Codes follow the reciprocal of the stored scale, itself a float16: below
2**-16 or so (a largest magnitude of about 1.22e-4) it is infinite, and the codes of the group
collapse to 0 and 15. `mode=fixed` takes the reciprocal in binary32 and keeps scales finite. Below
`percentile=100` the scale is that of a quantile of the magnitudes, in torch's interpolation, and
what lies beyond is clipped; `min_max_q4_0_with_embeddings_99` of the package is 99.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.fused import fused_multiply_add
from refquant.driver import Scheme
from refquant.layout import Field, Layout, Plane, Unsigned, field
from refquant.numerics import float16_bits, float32_from_float16
from refquant.schemes.floats import FLOAT16
from refquant.schemes.ggml.columns import columns
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]

BLOCK = 32
LARGEST = np.float32(65504)

MODE = Knob(
    "mode",
    "the reciprocal is a float16, as in torch-to-nnef, or a binary32 of a finite scale",
    ("strict", "fixed"),
    "strict",
)
PERCENTILE = Knob(
    "percentile",
    "part of the magnitudes that the scale covers, in hundredths",
    range(1, 101),
    100,
)


def magnitude(parts: F32, percentile: int) -> F32:  # f32[32, b] -> f32[b]
    """The largest magnitude of each block, or the quantile that `percentile` hundredths reach.

    The quantile lies between the magnitudes below and above its rank, nearer one first, by one
    fused operation, as `torch.quantile` computes it.
    """
    if percentile == 100:
        largest: F32 = np.maximum.reduce(np.abs(parts), axis=0)
        return largest
    ordered = np.sort(np.abs(parts), axis=0)
    rank = np.float32(percentile / 100) * np.float32(BLOCK - 1)
    below, above = ordered[int(np.floor(rank))], ordered[int(np.ceil(rank))]
    weight = rank - np.floor(rank)
    if weight < np.float32(0.5):
        return fused_multiply_add(weight, above - below, below)
    return fused_multiply_add(weight - np.float32(1), above - below, above)


def encode(
    mode: str, x: F32, percentile: int = 100
) -> Mapping[str, NDArray[np.integer]]:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """Codes floor(x / scale + 8.5), the quotient by a multiplication, limited to 0..15."""
    parts = columns(x, BLOCK)
    scale = magnitude(parts, percentile) / np.float32(-8)
    if mode == "fixed":
        scale = np.maximum(scale, -LARGEST)
    bits = float16_bits(scale)
    stored = float32_from_float16(bits)
    inverse = np.divide(np.float32(1), stored, out=stored.copy(), where=stored != 0)
    if mode == "strict":
        inverse = float32_from_float16(float16_bits(inverse))
    parts *= inverse
    parts += np.float32(8.5)
    # A product of zero and infinity is NaN, which torch turns into code 0.
    held = np.clip(np.nan_to_num(parts, copy=False, nan=0, posinf=15, neginf=0), 0, 15)
    return {"d": bits, "q": held.astype(np.uint8).T}


def _scheme(base: str, codes: Field, knobs: Mapping[str, str | int]) -> Scheme:
    mode, percentile = str(knobs["mode"]), int(knobs["percentile"])
    shown = f",percentile={percentile}" if percentile != PERCENTILE.default else ""
    return Scheme(
        f"{base}[mode={mode}{shown}]",
        f"torch-to-nnef 4-bit codes around 8, a float16 scale of 32 weights, {mode}",
        Layout(
            {"blocks": Plane((BLOCK,), 18)},
            {"d": field("blocks", FLOAT16, "0", over=BLOCK), "q": codes},
            ("mul", "d", ("sub", "q", 8.0)),
        ),
        partial(encode, mode, percentile=percentile),
        (BLOCK,),
        parameters=dict(knobs),
    )


HALVES = field("blocks", Unsigned(4), "(2,16):(4,8)+16")
PAIRS = field("blocks", Unsigned(4), "32:4+16")

FAMILIES = (
    Family(
        "t2n/q40",
        "torch-to-nnef 4-bit codes around 8, halves of a block in low and high nibbles",
        (MODE, PERCENTILE),
        partial(_scheme, "t2n/q40", HALVES),
    ),
    Family(
        "t2n/q40_legacy",
        "torch-to-nnef 4-bit codes around 8, neighbours in one byte (item type 0x2040)",
        (MODE, PERCENTILE),
        partial(_scheme, "t2n/q40_legacy", PAIRS),
    ),
)
