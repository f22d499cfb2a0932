"""Integer accumulators to integer codes: the fixed-point multipliers of integer-only engines.

A real multiplier (input scale times weight scale over output scale) is held as a 31-bit integer
and a power of two. TensorFlow Lite's reference kernels round twice, once in the doubling high
product and once in the shift; built with single rounding they round once. The results differ by
one code on some accumulators, which is why both have names.

Source: LiteRT, tflite/kernels/internal/{quantization_util.cc,common.cc} at f674577, and gemmlowp's
fixedpoint.h.
"""

from dataclasses import dataclass
from math import frexp

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError

__all__ = [
    "FixedPoint",
    "fixed_point",
    "fixed_points",
    "requantize_double_rounding",
    "requantize_float",
    "requantize_int64",
    "requantize_real",
    "requantize_single_rounding",
    "requantize_ties_up",
]

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """`multiplier * 2**(shift - 31)` with a multiplier in [2**30, 2**31), or 0.

    Arrays hold one such number for each of the last axis's channels.
    """

    multiplier: int | I64
    shift: int | I64


def fixed_point(real: float) -> FixedPoint:
    """The nearest fixed-point number to a positive real, ties of the 31-bit integer away from zero.

    Reals below 2**-32 or so become 0, as in the reference kernels. Raises `SchemeError` for
    negative, infinite and NaN multipliers.
    """
    if not 0 <= real < float("inf"):
        raise SchemeError(f"multiplier {real}: expected a finite number of at least 0")
    fraction, shift = frexp(real)
    multiplier = int(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    return FixedPoint(0, 0) if shift < -31 else FixedPoint(multiplier, shift)


def fixed_points(reals: NDArray[np.float64]) -> FixedPoint:  # f64[n] -> n numbers
    """The same for every channel: one object that holds the numbers of all."""
    each = [fixed_point(real) for real in reals.tolist()]
    return FixedPoint(
        np.array([one.multiplier for one in each], np.int64),
        np.array([one.shift for one in each], np.int64),
    )


def requantize_double_rounding(accumulator: I32, by: FixedPoint) -> I32:  # i32[...] -> i32[...]
    """`accumulator * by` as a saturating rounding doubling high product, then a rounding shift.

    The first step rounds ties away from zero for non-negative products and toward zero for negative
    ones; the second rounds ties away from zero.
    """
    multiplier, shift = _numbers(by)
    shifted = _left(accumulator, np.maximum(shift, 0))
    product = shifted.astype(np.int64) * multiplier
    nudge = np.where(product >= 0, np.int64(1 << 30), np.int64(1 - (1 << 30)))
    total = product + nudge
    high = np.where(total >= 0, total >> np.int64(31), -(-total >> np.int64(31)))
    return _rounding_shift(np.minimum(high, INT32.max), np.maximum(-shift, 0)).astype(np.int32)


def _numbers(by: FixedPoint) -> tuple[I64, I64]:
    """Multiplier and shift, a number of each or one for each channel."""
    return np.asarray(by.multiplier, np.int64), np.asarray(by.shift, np.int64)


def _left(accumulator: I32, shift: I64) -> I32:  # i32[...], i64[] or i64[n] -> i32[...]
    wide: I64 = accumulator.astype(np.int64) << shift
    if ((wide < INT32.min) | (wide > INT32.max)).any():
        raise SchemeError(f"an accumulator shifted left by {shift.max()} bits leaves int32")
    return wide.astype(np.int32)


def _rounding_shift(x: I64, exponent: I64) -> I64:  # i64[...], i64[] or i64[n] -> i64[...]
    """`x / 2**exponent` to the nearest integer, ties away from zero."""
    mask = (np.int64(1) << exponent) - 1
    remainder = x & mask
    threshold = (mask >> np.int64(1)) + (x < 0)
    rounded: I64 = (x >> exponent) + (remainder > threshold)
    return rounded


def requantize_single_rounding(accumulator: I32, by: FixedPoint) -> I32:  # i32[...] -> i32[...]
    """`accumulator * by` with one rounding, ties toward positive infinity, saturated to int32.

    A shift above 30 is held at the largest multiplier of shift 30, as in the reference build.
    """
    multiplier, shift = _numbers(by)
    multiplier = np.where(shift > 30, np.int64(INT32.max), multiplier)
    total_shift = 31 - np.minimum(shift, 30)
    half = np.int64(1) << (total_shift - 1)
    product = accumulator.astype(np.int64) * multiplier + half
    codes: I32 = np.clip(product >> total_shift, INT32.min, INT32.max).astype(np.int32)
    return codes


def requantize_int64(accumulator: I64, by: FixedPoint) -> I32:  # i64[...] -> i32[...]
    """`accumulator * by` for 16-bit activations: a 16-bit multiplier and one rounding shift.

    Accumulators must lie in [-2**47, 2**47) and `by.shift` in [-31, 7].
    """
    held, shift = _numbers(by)
    is_wide = (accumulator >> np.int64(47) != accumulator >> np.int64(63)).any()
    if is_wide or (shift < -31).any() or (shift > 7).any():
        raise SchemeError("an accumulator of more than 48 bits, or a shift outside -31..7")
    reduced = np.where(held < 0x7FFF0000, (held + (1 << 15)) >> 16, 0x7FFF)
    total_shift = 15 - shift
    half = np.int64(1) << (total_shift - 1)
    codes: I32 = ((accumulator * reduced + half) >> total_shift).astype(np.int32)
    return codes


def requantize_float(
    accumulator: I32,
    scale: np.float32 | NDArray[np.float32],
    zero_point: int,
    dtype: type[np.integer],
) -> NDArray[np.integer]:  # i32[...], f32[] or f32[n] -> int[...]
    """Codes by a binary32 product, ties to even, then the zero point, saturated.

    The accumulator is first rounded to binary32, as XNNPACK's and ONNX Runtime's kernels do.
    """
    limits = np.iinfo(dtype)
    factor = np.asarray(scale, np.float32)
    product = np.rint(accumulator.astype(np.float32) * factor).astype(np.float64)
    codes: NDArray[np.integer] = np.clip(product + zero_point, limits.min, limits.max).astype(dtype)
    return codes


def requantize_real(
    accumulator: NDArray[np.integer], real: float | NDArray[np.float64]
) -> I32:  # int[...], f64[] or f64[n] -> i32[...]
    """`accumulator * real` in binary64, ties away from zero: no fixed point at all.

    Source: ai-edge-litert 2.3.0: its reference kernels with int8 activations and all its kernels
    with int16 ones. `real` is `input_scale * weight_scale / output_scale` in binary64.
    """
    product = np.asarray(accumulator, np.float64) * real
    magnitude = np.abs(product)
    whole = np.floor(magnitude)
    rounded = np.copysign(whole + (magnitude - whole >= 0.5), product)
    codes: I32 = np.clip(rounded, INT32.min, INT32.max).astype(np.int32)
    return codes


def requantize_ties_up(accumulator: I32, by: FixedPoint) -> I32:  # i32[...] -> i32[...]
    """`accumulator * by` with two roundings, ties toward positive infinity in both.

    Source: ai-edge-litert 2.3.0: its optimized int8 kernels (ruy) on x86-64 with AVX-512.
    """
    multiplier, shift = _numbers(by)
    shifted = _left(accumulator, np.maximum(shift, 0)).astype(np.int64)
    high = (shifted * multiplier + np.int64(1 << 30)) >> np.int64(31)
    right = np.maximum(-shift, 0)
    half = (np.int64(1) << right) >> np.int64(1)
    codes: I32 = ((np.minimum(high, INT32.max) + half) >> right).astype(np.int32)
    return codes
