"""The dtypes in which quanto computes: those of the weights, each operation rounded to them."""

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
from refquant.schemes.names import Knob

__all__ = ["DTYPE", "DTYPES", "Dtype"]

F32 = NDArray[np.float32]


def _bits32(x: F32) -> NDArray[np.uint32]:
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
    "f32": Dtype(FLOAT32, _bits32, lambda x: x),
    "bf16": Dtype(BFLOAT16, bfloat16_bits, lambda x: float32_from_bfloat16(bfloat16_bits(x))),
    "f16": Dtype(FLOAT16, float16_bits, lambda x: float32_from_float16(float16_bits(x))),
}

DTYPE = Knob("dtype", "of weights, scales and shifts, and of the arithmetic", tuple(DTYPES), "f32")
