"""Activation quantizers as contracts: what each engine does to a row before its integer product.

All of them choose one scale for each row. They differ in symmetry, in which side a zero point is
taken from, in whether weights are divided or multiplied by a reciprocal, and in the rounding of
ties; on one model the two runtimes of LiteRT differ by more than quantization itself does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.numerics import round_half_away

__all__ = [
    "QuantizedRows",
    "litert_asymmetric",
    "litert_symmetric",
    "torchao_per_token",
    "xnnpack_asymmetric",
]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Activations as codes: `real = scale[row] * (codes[row] - zero_point[row])`."""

    codes: NDArray[np.int8]
    scale: F32
    zero_point: NDArray[np.int32]

    def dequantize(self) -> F32:  # -> f32[m, k]
        """The activations that the codes stand for, rounded once."""
        centred = self.codes.astype(np.float32) - self.zero_point.astype(np.float32)[:, None]
        return np.asarray(centred * self.scale[:, None])


def _extremes(x: F32) -> tuple[F32, F32]:  # f32[m, k] -> f32[m], f32[m]
    """Smallest and largest of each row, 0.0 included."""
    low = np.minimum(np.minimum.reduce(x, axis=1), np.float32(0))
    high = np.maximum(np.maximum.reduce(x, axis=1), np.float32(0))
    return low, high


def litert_symmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """LiteRT's built-in hybrid kernels: `scale = amax / 127`, codes `x * (127 / amax)`.

    Ties go away from zero, codes stay in -127..127, and a row of zeros has scale 1.
    Source: LiteRT, portable_tensor_utils.cc (PortableSymmetricQuantizeFloats).
    """
    low, high = _extremes(x)
    amax = np.maximum(-low, high)
    empty = amax == 0
    held = np.where(empty, np.float32(1), amax)
    codes = round_half_away(np.asarray(x * (np.float32(127) / held)[:, None], np.float32))
    codes[empty] = 0
    scale = np.where(empty, np.float32(1), amax / np.float32(127))
    return QuantizedRows(
        np.clip(codes, -127, 127).astype(np.int8), scale, np.zeros(len(x), np.int32)
    )


def litert_asymmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """LiteRT's asymmetric hybrid kernels: binary64 scale, zero point from the nearer side.

    `scale = (max - min) / 255`; of the two zero points that map min to -128 or max to 127, the one
    of smaller error is taken, the second on a tie. Ties of codes go away from zero.
    Source: LiteRT, portable_tensor_utils.cc (PortableAsymmetricQuantizeFloats).
    """
    low, high = (np.asarray(side, np.float64) for side in _extremes(x))
    empty = low == high
    scale = np.where(empty, 1.0, (high - low) / 255.0)
    from_low, from_high = -128.0 - low / scale, 127.0 - high / scale
    error_low, error_high = 128.0 + np.abs(low / scale), 127.0 + np.abs(high / scale)
    zero = np.where(error_low < error_high, from_low, from_high)
    held = np.clip(_half_away(zero), -128, 127)
    held[empty] = 0
    stored = scale.astype(np.float32)
    quotient = x * (np.float32(1) / stored)[:, None]
    codes = round_half_away(held.astype(np.float32)[:, None] + quotient)
    codes[empty] = 0
    return QuantizedRows(np.clip(codes, -128, 127).astype(np.int8), stored, held.astype(np.int32))


def _half_away(x: NDArray[np.float64]) -> NDArray[np.float64]:
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.asarray(np.copysign(whole + (magnitude - whole >= 0.5), x))


def xnnpack_asymmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """XNNPACK's qd8 rows: everything in binary32, codes `rint(x * k) + zero_point`, k = 255/range.

    The scale of a row is `1 / k`. Source: XNNPACK, src/xnnpack/quantization.h at 75db3c0.
    """
    low, high = _extremes(x)
    span = np.where(low == high, np.float32(255), high - low).astype(np.float32, copy=False)
    inverse = np.where(low == high, np.float32(1), np.float32(255) / span)
    from_low = np.float32(-128) - low * inverse
    from_high = np.float32(127) - high * inverse
    nearer_high = (np.float32(-128) + low * inverse) + (np.float32(127) + high * inverse) > 0
    zero = np.rint(np.clip(np.where(nearer_high, from_low, from_high), -128, 127))
    codes = np.rint(x * inverse[:, None]) + zero[:, None]
    return QuantizedRows(
        np.clip(codes, -128, 127).astype(np.int8),
        np.asarray(np.float32(1) / inverse, np.float32),
        zero.astype(np.int32),
    )


def torchao_per_token(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """Torchao's 8da4w tokens: asymmetric, scale at least 2**-23, zero point after rounding.

    `zero_point = clip(-128 - rint(min / scale))`, codes `clip(rint(x * (1 / scale)) + zero_point)`.
    Source: torchao 0.18, quant_primitives.py (choose_qparams_affine, quantize_affine).
    """
    low, high = _extremes(x)
    scale = np.maximum((high - low) / np.float32(255), np.float32(2.0**-23))
    zero = np.clip(np.float32(-128) - np.rint(low / scale), -128, 127)
    codes = np.rint(x * (np.float32(1) / scale)[:, None]) + zero[:, None]
    return QuantizedRows(np.clip(codes, -128, 127).astype(np.int8), scale, zero.astype(np.int32))
