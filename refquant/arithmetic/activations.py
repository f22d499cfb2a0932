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


def _scaled(x: F32, factor: F32) -> F32:  # f32[m, k], f32[m] -> f32[m, k]
    """Each row times its factor; where a tiny row's factor is infinite, its zeros stay 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(x * factor[:, None], np.float32)
    if not np.isfinite(factor).all():
        product[x == 0] = 0
    return product


def _half_away_codes(x: F32, factor: F32) -> F32:  # f32[m, k], f32[m] -> f32[m, k]
    with np.errstate(invalid="ignore"):
        return round_half_away(_scaled(x, factor))


def litert_symmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """LiteRT's built-in hybrid kernels: `scale = amax / 127`, codes `x * (127 / amax)`.

    Ties go away from zero, codes stay in -127..127, and a row of zeros has scale 1. Where 127 /
    amax is infinite (amax below 2**-121) C is undefined; here codes are then -127, 0 and 127.
    Source: ai-edge-litert 2.3.0, reference and optimized kernels, measured with unit weights.
    """
    low, high = _extremes(x)
    amax = np.maximum(-low, high)
    empty = amax == 0
    held = np.where(empty, np.float32(1), amax)
    with np.errstate(over="ignore"):
        factor = np.asarray(np.float32(127) / held, np.float32)
    codes = _half_away_codes(x, factor)
    codes[empty] = 0
    scale = np.where(empty, np.float32(1), amax / np.float32(127))
    return QuantizedRows(
        np.clip(codes, -127, 127).astype(np.int8), scale, np.zeros(len(x), np.int32)
    )


def litert_asymmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """LiteRT's asymmetric hybrid kernels: range of 255 steps, zero point from the nearer side.

    The range is a binary32 difference, its 255th part and the zero points binary64; of the two zero
    points that map min to -128 or max to 127, the one of smaller error is taken, the second on a
    tie. Codes are `round(x * (1 / scale)) + zero_point` with ties away from zero, before the zero
    point is added. Source: ai-edge-litert 2.3.0, measured with unit weights; its optimized kernels
    use it for weights in blocks, and for all where `asymmetric_quantize_inputs` is set.
    """
    low, high = _extremes(x)
    empty = low == high
    with np.errstate(over="ignore", divide="ignore"):
        scale = np.where(empty, 1.0, np.asarray(high - low, np.float64) / 255.0)
        stored = scale.astype(np.float32)
        inverse = np.asarray(np.float32(1) / stored, np.float32)
    least, most = np.asarray(low, np.float64) / scale, np.asarray(high, np.float64) / scale
    from_low = 128.0 + np.abs(least) < 127.0 + np.abs(most)
    zero = np.clip(_half_away(np.where(from_low, -128.0 - least, 127.0 - most)), -128, 127)
    zero[empty] = 0
    codes = _half_away_codes(x, inverse) + zero.astype(np.float32)[:, None]
    codes[empty] = 0
    return QuantizedRows(np.clip(codes, -128, 127).astype(np.int8), stored, zero.astype(np.int32))


def _half_away(x: NDArray[np.float64]) -> NDArray[np.float64]:
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.asarray(np.copysign(whole + (magnitude - whole >= 0.5), x))


def xnnpack_asymmetric(x: F32) -> QuantizedRows:  # f32[m, k] -> rows
    """XNNPACK's qd8 rows: everything in binary32, codes `rint(x * k) + zero_point`, k = 255/range.

    The scale of a row is `1 / k`. LiteRT runs XNNPACK with subnormal numbers flushed to zero, which
    this function does not do: it concerns rows whose range is below 255 * 2**-126. Source: XNNPACK,
    src/xnnpack/quantization.h at 75db3c0, and as part of ai-edge-litert 2.3.0.
    """
    low, high = _extremes(x)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        span = np.where(low == high, np.float32(255), high - low).astype(np.float32, copy=False)
        inverse = np.where(low == high, np.float32(1), np.float32(255) / span)
        scale = np.asarray(np.float32(1) / inverse, np.float32)
        least, most = (_scaled(side[:, None], inverse)[:, 0] for side in (low, high))
        nearer_high = (np.float32(-128) + least) + (np.float32(127) + most) > 0
    zero = np.where(nearer_high, np.float32(-128) - least, np.float32(127) - most)
    zero = np.rint(np.clip(zero, -128, 127))
    codes = np.rint(_scaled(x, inverse)) + zero[:, None]
    return QuantizedRows(np.clip(codes, -128, 127).astype(np.int8), scale, zero.astype(np.int32))


def torchao_per_token(
    x: F32, *, least_scale: float = 2.0**-23
) -> QuantizedRows:  # f32[m, k] -> rows
    """Torchao's tokens: asymmetric, scale not below a floor, zero point after rounding.

    `zero_point = clip(-128 - rint(min / scale))`, codes `clip(rint(x * (1 / scale)) + zero_point)`.
    The floor is 2**-23 in the 8da4w quantizer, and 2**-126 in `IntxUnpackedToInt8Tensor`, where it
    is the smallest normal number. Source: torchao 0.18, quant_primitives.py
    (choose_qparams_affine, quantize_affine) and linear_quant_modules.py.
    """
    low, high = _extremes(x)
    with np.errstate(over="ignore"):
        scale = np.maximum((high - low) / np.float32(255), np.float32(least_scale))
    zero = np.clip(np.float32(-128) - np.rint(low / scale), -128, 127)
    codes = np.rint(x * (np.float32(1) / scale)[:, None]) + zero[:, None]
    return QuantizedRows(np.clip(codes, -128, 127).astype(np.int8), scale, zero.astype(np.int32))
