"""The dtypes in which quantizers compute and in which they store scales: how they round to each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Minifloat
from refquant.numerics import (
    bfloat16_bits,
    float16_bits,
    float32_from_bfloat16,
    float32_from_float16,
)
from refquant.schemes.floats import BFLOAT16, FLOAT16, FLOAT32

__all__ = ["DTYPES", "Dtype", "without_signs_of_nan"]

F32 = NDArray[np.float32]


def _float32_bits(x: F32) -> NDArray[np.uint32]:
    return np.ascontiguousarray(x).view(np.uint32)


@dataclass(frozen=True, slots=True)
class Dtype:
    """How numbers of a dtype are stored, and the rounding of binary32 numbers to it.

    One rounding after binary32's is as good as none before: float16 and bfloat16 have less than
    half of its bits.
    """

    element: Minifloat
    bits: Callable[[F32], NDArray[np.integer]]
    rounded: Callable[[F32], F32]


DTYPES: Mapping[str, Dtype] = {
    "f32": Dtype(FLOAT32, _float32_bits, lambda x: x),
    "bf16": Dtype(BFLOAT16, bfloat16_bits, lambda x: float32_from_bfloat16(bfloat16_bits(x))),
    "f16": Dtype(FLOAT16, float16_bits, lambda x: float32_from_float16(float16_bits(x))),
}


def without_signs_of_nan(x: F32) -> F32:  # f32[...] -> f32[...]
    """The same numbers; a NaN that arithmetic made has the sign of no machine in particular."""
    return np.where(np.isnan(x), np.float32(np.nan), x)
