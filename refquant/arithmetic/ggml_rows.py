"""Rows of activations in blocks of 32, as ggml's kernels for x86-64 quantize them.

Its C quantizes with `1 / d` and takes ties away from zero, which the schemes `ggml/q8_0` and
`ggml/q8_1` do; vectors of AVX divide 127 by the largest magnitude instead, and take ties to even.
So products of the same weights with the same activations depend on the processor. Q8_K, which
belongs to super-blocks, is the same code everywhere.
Source: ggml 0.25, ggml-cpu/arch/x86/quants.c, `quantize_row_q8_0` and `quantize_row_q8_1`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import float16_bits

__all__ = ["BlockRows", "ggml_x86_blocks"]

F32 = NDArray[np.float32]

BLOCK = 32


@dataclass(frozen=True, slots=True)
class BlockRows:
    """Codes i8[t, k], and for each block f32[t, k / 32]: the stored scale and the stored sum.

    Scale and sum are the values of binary16 numbers; the sum is that of the codes times the scale
    before its rounding, and only Q8_1 has it.
    """

    codes: NDArray[np.int8]
    scale: F32
    total: F32


def ggml_x86_blocks(x: F32) -> BlockRows:  # f32[t, k] -> rows
    """`scale = amax / 127`, codes `rne(x * (127 / amax))`; a block of zeros has scale 0.

    Where `127 / amax` is infinite (amax below 2**-121) the stored scale is 0, whatever the codes
    are: here 0 too. So are those of a block that holds a NaN.
    """
    blocks = x.reshape(len(x), -1, BLOCK)
    largest = np.abs(blocks).max(axis=2)
    scale = largest / np.float32(127)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factor = np.float32(127) / largest
        factor[~np.isfinite(factor)] = 0
        codes = np.rint(np.nan_to_num(blocks * factor[..., None])).astype(np.int8)
        total = scale * codes.sum(axis=2, dtype=np.int32).astype(np.float32)
    return BlockRows(codes.reshape(x.shape), _as_half(scale), _as_half(total))


def _as_half(x: F32) -> F32:  # f32[...] -> f32[...]
    """The value of the nearest binary16 number."""
    return np.asarray(float16_bits(x).view(np.float16), np.float32)
