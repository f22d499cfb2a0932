"""I2_S: ternary codes of two bits, one binary32 scale for the whole tensor.

A byte holds four weights a quarter of a block apart, the first in its highest bits. Blocks hold
128 weights on x86-64 and 64 on ARM; the file does not say which. The encoder expects weights that
are ternary already: it keeps signs, and the scale is the largest magnitude.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]

LEAST = 1e-6
"""Magnitudes below this, in binary64, count as zero."""

BLOCK = Knob("block", "weights of a block: 128 on x86-64, 64 on ARM", ("128", "64"), "128")


def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:  # f32[1, n] -> s u32[1, 1], q u8[1, n]
    """The sign of every weight, 0 where it is below 1e-6 in magnitude."""
    magnitude = np.abs(x)
    codes = np.where(magnitude < LEAST, np.uint8(1), np.where(x > 0, np.uint8(2), np.uint8(0)))
    scale = np.maximum.reduce(magnitude, axis=1)  # exact: magnitudes
    return {"s": scale.view(np.uint32)[:, None], "q": codes}


def _scheme(knobs: Mapping[str, str | int]) -> Scheme:
    block = int(knobs["block"])
    quarter = block // 4
    layout = Layout(
        {"codes": Plane((block,), quarter), "scale": Plane(WHOLE_TENSOR, 4)},
        {
            "q": field("codes", Unsigned(2), *(f"{quarter}:8+{shift}" for shift in (6, 4, 2, 0))),
            "s": field("scale", FLOAT32, "0", over=WHOLE_TENSOR),
        },
        ("mul", "s", ("sub", "q", 1.0)),
    )
    return Scheme(
        f"bitnet/i2_s[block={block}]",
        f"bitnet.cpp ternary codes in blocks of {block}, one scale for the tensor",
        layout,
        encode,
        WHOLE_TENSOR,
        ragged=True,
        parameters=dict(knobs),
    )


FAMILIES = (
    Family("bitnet/i2_s", "bitnet.cpp ternary codes, one scale for the tensor", (BLOCK,), _scheme),
)
