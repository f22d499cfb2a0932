"""torch-to-nnef's Q40: 4-bit codes around 8, a float16 scale of 32 weights, never positive.

The scale is the largest magnitude over -8, so a positive extreme gets code 0 and a negative one is
clipped to 7/8 of itself. Codes follow the reciprocal of the stored scale, itself a float16: below
2**-16 or so (a largest magnitude of about 1.22e-4) it is infinite, and the codes of the group
collapse to 0 and 15. `mode=fixed` takes the reciprocal in binary32 and keeps scales finite.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

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


def encode(
    mode: str, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[b, 32] -> d f16[b], q u4[b, 32]
    """Codes floor(x / scale + 8.5), the quotient by a multiplication, limited to 0..15."""
    parts = columns(x, BLOCK)
    scale = np.maximum.reduce(np.abs(parts), axis=0) / np.float32(-8)
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
    mode = str(knobs["mode"])
    return Scheme(
        f"{base}[mode={mode}]",
        f"torch-to-nnef 4-bit codes around 8, a float16 scale of 32 weights, {mode}",
        Layout(
            {"blocks": Plane((BLOCK,), 18)},
            {"d": field("blocks", FLOAT16, "0", over=BLOCK), "q": codes},
            ("mul", "d", ("sub", "q", 8.0)),
        ),
        partial(encode, mode),
        (BLOCK,),
        parameters=dict(knobs),
    )


HALVES = field("blocks", Unsigned(4), "(2,16):(4,8)+16")
PAIRS = field("blocks", Unsigned(4), "32:4+16")

FAMILIES = (
    Family(
        "t2n/q40",
        "torch-to-nnef 4-bit codes around 8, halves of a block in low and high nibbles",
        (MODE,),
        partial(_scheme, "t2n/q40", HALVES),
    ),
    Family(
        "t2n/q40_legacy",
        "torch-to-nnef 4-bit codes around 8, neighbours in one byte (item type 0x2040)",
        (MODE,),
        partial(_scheme, "t2n/q40_legacy", PAIRS),
    ),
)
