"""How ONNX Runtime itself quantizes the weights of MatMulNBits (MatMulNBitsQuantizer).

Its arithmetic is not QuantizeLinear's: a symmetric scale is that of the weight of largest
magnitude, sign and all, so that this weight gets code 0; weights are multiplied with the inverse
of the scale; the zero point is added before rounding, and ties go away from zero.

Source: microsoft/onnxruntime 1.31.1, onnxruntime/core/mlas/lib/q4_dq.cpp (BlockwiseQuantizer),
which `quantize_matmul_4bits` and its kin call.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import round_half_away

__all__ = ["encode"]

F32 = NDArray[np.float32]


def encode(
    x: F32, bits: int, *, symmetric: bool
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s f32[g, 1], z u8[g, 1], q u8[g, n]
    """The codes of blocks; scales may be negative, zero (of either sign) or infinite."""
    most, middle = np.float32((1 << bits) - 1), np.float32(1 << (bits - 1))
    low, high = x.min(axis=1), x.max(axis=1)
    if symmetric:
        extreme = np.where(np.abs(high) > np.abs(low), high, low)
        # Of a block of zeros the first one is the extreme, which its sign shows.
        extreme = np.where(extreme == 0, x[:, 0], extreme)
        scale, zero = extreme / -middle, np.full_like(extreme, middle)
    else:
        low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
        scale = (high - low) / most
        ratio = np.where(scale == 0, low, -low / scale)
        zero = np.clip(round_half_away(ratio), np.float32(0), most)
    inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    codes = round_half_away(x * inverse[:, None] + zero[:, None])
    # An infinite inverse has no product with 0.0; what is no number becomes code 0.
    codes = np.clip(np.where(np.isnan(codes), np.float32(0), codes), np.float32(0), most)
    return {
        "s": np.ascontiguousarray(scale, np.float32).view(np.uint32)[:, None],
        "z": zero.astype(np.uint8)[:, None],
        "q": codes.astype(np.uint8),
    }
