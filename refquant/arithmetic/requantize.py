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
    """`multiplier * 2**(shift - 31)` with a multiplier in [2**30, 2**31), or 0."""

    multiplier: int
    shift: int


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


def requantize_double_rounding(accumulator: I32, by: FixedPoint) -> I32:  # i32[...] -> i32[...]
    """`accumulator * by` as a saturating rounding doubling high product, then a rounding shift.

    The first step rounds ties away from zero for non-negative products and toward zero for negative
    ones; the second rounds ties away from zero.
    """
    shifted = _left(accumulator, max(by.shift, 0))
    product = shifted.astype(np.int64) * np.int64(by.multiplier)
    nudge = np.where(product >= 0, np.int64(1 << 30), np.int64(1 - (1 << 30)))
    total = product + nudge
    high = np.where(total >= 0, total >> np.int64(31), -(-total >> np.int64(31)))
    return _rounding_shift(np.minimum(high, INT32.max), max(-by.shift, 0)).astype(np.int32)


def _left(accumulator: I32, shift: int) -> I32:
    wide = accumulator.astype(np.int64) << np.int64(shift)
    if ((wide < INT32.min) | (wide > INT32.max)).any():
        raise SchemeError(f"an accumulator shifted left by {shift} bits leaves int32")
    return wide.astype(np.int32)


def _rounding_shift(x: I64, exponent: int) -> I64:  # i64[...] -> i64[...]
    """`x / 2**exponent` to the nearest integer, ties away from zero."""
    mask = np.int64((1 << exponent) - 1)
    remainder = x & mask
    threshold = (mask >> np.int64(1)) + (x < 0)
    rounded: I64 = (x >> np.int64(exponent)) + (remainder > threshold)
    return rounded


def requantize_single_rounding(accumulator: I32, by: FixedPoint) -> I32:  # i32[...] -> i32[...]
    """`accumulator * by` with one rounding, ties toward positive infinity, saturated to int32.

    A shift above 30 is held at the largest multiplier of shift 30, as in the reference build.
    """
    multiplier, shift = by.multiplier, by.shift
    if shift > 30:
        multiplier, shift = INT32.max, 30
    total_shift = np.int64(31 - shift)
    half = np.int64(1) << (total_shift - np.int64(1))
    product = accumulator.astype(np.int64) * np.int64(multiplier) + half
    codes: I32 = np.clip(product >> total_shift, INT32.min, INT32.max).astype(np.int32)
    return codes


def requantize_int64(accumulator: I64, by: FixedPoint) -> I32:  # i64[...] -> i32[...]
    """`accumulator * by` for 16-bit activations: a 16-bit multiplier and one rounding shift.

    Accumulators must lie in [-2**47, 2**47) and `by.shift` in [-31, 7].
    """
    if (
        not -31 <= by.shift <= 7
        or (accumulator >> np.int64(47) != accumulator >> np.int64(63)).any()
    ):
        raise SchemeError("an accumulator of more than 48 bits, or a shift outside -31..7")
    held = by.multiplier
    reduced = (held + (1 << 15)) >> 16 if held < 0x7FFF0000 else 0x7FFF
    total_shift = np.int64(15 - by.shift)
    half = np.int64(1) << (total_shift - np.int64(1))
    return ((accumulator * np.int64(reduced) + half) >> total_shift).astype(np.int32)


def requantize_float(
    accumulator: I32, scale: np.float32, zero_point: int, dtype: type[np.integer]
) -> NDArray[np.integer]:  # i32[...] -> int[...]
    """Codes by a binary32 product, ties to even, then the zero point, saturated.

    The accumulator is first rounded to binary32, as XNNPACK's and ONNX Runtime's kernels do.
    """
    limits = np.iinfo(dtype)
    product = np.rint(accumulator.astype(np.float32) * np.float32(scale)).astype(np.float64)
    codes: NDArray[np.integer] = np.clip(product + zero_point, limits.min, limits.max).astype(dtype)
    return codes


def requantize_real(accumulator: NDArray[np.integer], real: float) -> I32:  # int[...] -> i32[...]
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
    shifted = _left(accumulator, max(by.shift, 0)).astype(np.int64)
    high = (shifted * np.int64(by.multiplier) + np.int64(1 << 30)) >> np.int64(31)
    right = max(-by.shift, 0)
    half = np.int64((1 << right) >> 1)
    codes: I32 = ((np.minimum(high, INT32.max) + half) >> np.int64(right)).astype(np.int32)
    return codes
