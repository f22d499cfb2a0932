"""`bnb/int8`: the weights of LLM.int8(), rows of 8-bit codes and the largest magnitude of each.

`real = code * absmax * (1 / 127)`, the last factor a binary32 constant. Weights are float16 first,
whatever they were. The outliers of LLM.int8() are columns of activations: at run time they meet
decoded columns of these weights, which hold all columns, so nothing of them is stored.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Signed, field
from refquant.numerics import float16_bits, float32_from_float16
from refquant.schemes.floats import FLOAT32

__all__ = ["INT8"]

F32 = NDArray[np.float32]
STEP = float(np.float32(1) / np.float32(127))


def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:  # f32[r, n] -> s u32[r, 1], q i8[r, n]
    """Codes of the weights times 127 over their row's largest magnitude."""
    x = float32_from_float16(float16_bits(x))
    absmax = np.maximum.reduce(np.abs(x), axis=1)
    # A number over a tensor is the tensor's reciprocal times the number in torch.
    inverse = (np.float32(1) / absmax) * np.float32(127)
    codes = np.rint(x * inverse[:, None])
    # A row of zeros, or one with an infinite float16, has NaN there, which torch turns into 0.
    held = np.where(np.isnan(codes), np.float32(0), codes)
    return {"s": absmax.view(np.uint32)[:, None], "q": held.astype(np.int8)}


INT8 = Scheme(
    "bnb/int8",
    "LLM.int8() rows of 8-bit codes times the row's largest magnitude over 127",
    Layout(
        {"codes": Plane((1,), 1), "absmax": Plane((0,), 4)},
        {"q": field("codes", Signed(8), "0"), "s": field("absmax", FLOAT32, "0", over=(0,))},
        ("mul", ("mul", "q", "s"), STEP),
    ),
    encode,
    (0,),
)
