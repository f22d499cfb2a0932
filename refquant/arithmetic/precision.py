"""The types in which engines keep a model's numbers: binary32, and two of half its size."""

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import bfloat16_bits, float32_from_bfloat16

__all__ = ["PRECISIONS", "Precision", "rounded_to"]

F32 = NDArray[np.float32]

Precision = Literal["float32", "float16", "bfloat16"]

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


def rounded_to(x: F32, precision: Precision) -> F32:  # f32[...] -> f32[...]
    """Each number as the nearest one of the type, ties to even; float32 leaves the array itself.

    What float16 cannot hold, from 65520 on, becomes infinite.
    """
    if precision == "float32":
        return x
    if precision == "bfloat16":
        return float32_from_bfloat16(bfloat16_bits(np.ascontiguousarray(x)))
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)
