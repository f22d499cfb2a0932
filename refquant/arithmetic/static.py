"""Static integer layers: codes in, codes out, with scales that were found beforehand.

A calibration gives the range of what a matrix reads and of what it writes. From them follow one
scale and zero point for all rows of each; numbers become codes, codes are summed exactly, and sums
become codes of the output at once. Engines differ in how numbers become codes, in how sums do, and
in how codes become numbers again: `STATIC` says who does what.

Sources: ai-edge-quantizer 0.10.0 (parameters), ai-edge-litert 2.3.0 (kernels, measured), LiteRT at
f674577 (the fixed-point kernels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.integer import INT32_MAX, integer_matmul
from refquant.arithmetic.requantize import (
    FixedPoint,
    fixed_points,
    requantize_double_rounding,
    requantize_float,
    requantize_real,
    requantize_single_rounding,
    requantize_ties_up,
)
from refquant.errors import SchemeError, UsageError
from refquant.numerics import round_half_away

__all__ = [
    "STATIC",
    "StaticKernel",
    "StaticLayer",
    "StaticParameters",
    "check_static",
    "static_bias",
    "static_codes",
    "static_layer",
    "static_parameters",
    "static_sums",
    "static_values",
]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Codes = NDArray[np.integer]
Limits: TypeAlias = "np.iinfo[np.int8] | np.iinfo[np.int16]"
Rounding = Literal["real", "ties up", "float", "double", "single"]

LEAST_RANGE: Final = np.float32(1e-9)
"""A range counts as so wide at least: the scale of a tensor of zeros is not zero."""


@dataclass(frozen=True, slots=True)
class StaticKernel:
    """What an engine does with activations of 8 or 16 bits.

    Numbers become codes by a division, ties away from zero, or with `by_reciprocal` by a product
    with the rounded reciprocal, ties to even. `rounding` is how sums become codes, a function of
    `requantize.py`, and `without_bias` how they do in a layer that has no bias. Codes become
    numbers by `scale * (code - zero_point)`, or where the zero point goes `apart` by
    `scale * code - scale * zero_point`, each product rounded.
    """

    bits: Literal[8, 16]
    by_reciprocal: bool
    rounding: Rounding
    without_bias: Rounding
    apart: bool = False

    @property
    def limits(self) -> "Limits":
        """The type of the codes, and its ends."""
        return np.iinfo(np.int8) if self.bits == 8 else np.iinfo(np.int16)


STATIC: Final[Mapping[str, StaticKernel]] = {
    "int8_static": StaticKernel(8, False, "real", "real"),
    "int8_static_optimized": StaticKernel(8, True, "ties up", "ties up", apart=True),
    "int8_static_xnnpack": StaticKernel(8, True, "float", "float"),
    "int8_static_double": StaticKernel(8, False, "double", "double"),
    "int8_static_single": StaticKernel(8, False, "single", "single"),
    "int16_static": StaticKernel(16, False, "real", "real"),
    "int16_static_optimized": StaticKernel(16, True, "real", "ties up"),
}
"""By the names of `contracts.py`."""

FIXED_POINT: Final[Mapping[str, Callable[[NDArray[np.int32], FixedPoint], NDArray[np.int32]]]] = {
    "ties up": requantize_ties_up,
    "double": requantize_double_rounding,
    "single": requantize_single_rounding,
}
"""The roundings that hold the multiplier as a 31-bit integer and a shift."""


@dataclass(frozen=True, slots=True)
class StaticParameters:
    """One scale and zero point for what a matrix reads, and one for what it writes.

    `real = scale * (code - zero_point)`; scales are binary32 numbers. Raises `SchemeError` for a
    scale that is none, or not positive and normal.
    """

    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int

    def __post_init__(self) -> None:
        for scale in (self.input_scale, self.output_scale):
            if not 2.0**-126 <= scale <= float(np.finfo(np.float32).max):
                raise SchemeError(f"scale {scale}: expected a positive normal number")
            if float(np.float32(scale)) != scale:
                raise SchemeError(f"scale {scale}: expected a number of binary32")


def static_parameters(
    contract: str, input_range: tuple[float, float], output_range: tuple[float, float]
) -> StaticParameters:
    """The parameters that AI Edge Quantizer gives a layer whose input and output have these ranges.

    A range is (minimum, maximum), and includes 0. Codes of 8 bits spread it over 255 steps and have
    a zero point; those of 16 bits spread the larger magnitude over 32767 and have none. Everything
    is binary32. Raises `UsageError` for a range that is not finite, or upside down.
    """
    bits = STATIC[contract].bits
    return StaticParameters(
        *_scale_and_zero(bits, input_range), *_scale_and_zero(bits, output_range)
    )


def _scale_and_zero(bits: int, extent: tuple[float, float]) -> tuple[float, int]:
    low, high = (
        np.minimum(np.float32(extent[0]), np.float32(0)),
        np.maximum(np.float32(extent[1]), np.float32(0)),
    )
    if not (np.isfinite(low) and np.isfinite(high) and extent[0] <= extent[1]):
        raise UsageError(f"range {extent}: expected a finite minimum and a maximum not below it")
    if bits == 16:
        return float(np.maximum(np.maximum(-low, high), LEAST_RANGE) / np.float32(32767)), 0
    scale = np.maximum(high - low, LEAST_RANGE) / np.float32(255)
    return float(scale), int(np.rint(np.float32(-128) - low / scale))


def check_static(contract: str, parameters: StaticParameters) -> None:
    """Raise `SchemeError` for a zero point beyond the contract's type; 16 bits have none but 0."""
    kernel = STATIC[contract]
    least, most = (kernel.limits.min, kernel.limits.max) if kernel.bits == 8 else (0, 0)
    for zero in (parameters.input_zero_point, parameters.output_zero_point):
        if not least <= zero <= most:
            raise SchemeError(f"zero point {zero}: {contract} takes {least} to {most}")


def static_codes(
    contract: str, x: F32, scale: float, zero_point: int
) -> Codes:  # f32[...] -> int[...]
    """Numbers as codes of a tensor, saturated: the operator QUANTIZE of the contract's engine.

    A NaN, for which the engines differ, is refused with `SchemeError`.
    """
    kernel, step = STATIC[contract], np.float32(scale)
    if np.isnan(x).any():
        raise SchemeError("a NaN among the activations has no code")
    with np.errstate(over="ignore", invalid="ignore"):
        if kernel.by_reciprocal:
            rounded = np.rint(x * (np.float32(1) / step))
        else:
            rounded = round_half_away(x / step)
    limits = kernel.limits
    rounded += np.float32(zero_point)
    codes: Codes = np.clip(rounded, limits.min, limits.max, out=rounded).astype(limits.dtype)
    return codes


def static_values(
    contract: str, codes: Codes, scale: float, zero_point: int
) -> F32:  # int[...] -> f32[...]
    """Codes of a tensor as numbers: the operator DEQUANTIZE of the contract's engine."""
    step = np.float32(scale)
    if STATIC[contract].apart:
        return np.asarray(step * codes.astype(np.float32) - step * np.float32(zero_point))
    centred = codes.astype(np.int32) - np.int32(zero_point)
    return np.asarray(centred.astype(np.float32) * step)


def static_bias(
    bias: F32, weight_scale: F32, input_scale: float
) -> I64:  # f32[n], f32[n] -> i64[n]
    """A bias in steps of the accumulator, `input_scale * weight_scale` rounded to binary32.

    Ties go to even. Raises `SchemeError` where it leaves int32, in which also layers of 16 bits
    keep their biases.
    """
    codes = np.rint(bias / (np.float32(input_scale) * weight_scale))
    if not (np.abs(codes) < np.float32(1 << 31)).all():
        raise SchemeError("a bias leaves int32: it is too large for the scale of its input")
    return codes.astype(np.int64)


def static_sums(
    codes: Codes, zero_point: int, weights: NDArray[np.int8], totals: I64
) -> I64:  # int[m, k], int, i8[n, k], i64[n] -> i64[m, n]
    """`sum((code - zero_point) * weight)`, exact; `totals` are the sums of each row of weights."""
    if codes.dtype == np.int8:
        return integer_matmul(codes, weights).astype(np.int64) - zero_point * totals
    # A code of 16 bits is 256 * high + low, and each half has exact products.
    low = codes.astype(np.int8)
    high = (codes.astype(np.int32) - low) >> np.int32(8)
    upper = integer_matmul(high.astype(np.int16), weights).astype(np.int64)
    return upper * 256 + integer_matmul(low, weights) - zero_point * totals


@dataclass(frozen=True, slots=True, eq=False)
class StaticLayer:
    """Weights i8[n, k] with a scale for each row, ready for one contract; made by `static_layer`.

    `totals` are the sums of each row of weights; `requantize` turns sums into codes, by the
    contract's rounding.
    """

    contract: str
    parameters: StaticParameters
    weights: NDArray[np.int8]
    scale: F32
    totals: I64
    requantize: Mapping[Rounding, Callable[[I64], Codes]]

    def codes(
        self, inputs: Codes, bias: F32 | None = None
    ) -> Codes:  # int[m, k], f32[n]? -> int[m, n]
        """The output's codes, from the input's."""
        known, kernel = self.parameters, STATIC[self.contract]
        rounding = kernel.without_bias if bias is None else kernel.rounding
        sums = static_sums(inputs, known.input_zero_point, self.weights, self.totals)
        if bias is not None:
            sums += static_bias(bias, self.scale, known.input_scale)
        if rounding != "real" and np.abs(sums).max(initial=0) > INT32_MAX:
            raise SchemeError(f"a sum leaves the int32 accumulator of {self.contract}")
        return self.requantize[rounding](sums)

    def __call__(self, x: F32, bias: F32 | None = None) -> F32:  # f32[m, k], f32[n]? -> f32[m, n]
        """The output as numbers: QUANTIZE, the layer, DEQUANTIZE."""
        known, contract = self.parameters, self.contract
        inputs = static_codes(contract, x, known.input_scale, known.input_zero_point)
        outputs = self.codes(inputs, bias)
        return static_values(contract, outputs, known.output_scale, known.output_zero_point)


def static_layer(
    contract: str, parameters: StaticParameters, weights: NDArray[np.int8], scale: F32
) -> StaticLayer:  # contract, parameters, i8[n, k], f32[n] -> layer
    """Weights and their scales, one a row, as a layer.

    Raises `SchemeError` for parameters that are not the contract's (`check_static`).
    """
    check_static(contract, parameters)
    kernel = STATIC[contract]
    totals = weights.sum(axis=1, dtype=np.int64)
    requantize = {
        rounding: _requantizer(rounding, kernel.limits, parameters, scale)
        for rounding in (kernel.rounding, kernel.without_bias)
    }
    return StaticLayer(contract, parameters, weights, scale, totals, requantize)


def _requantizer(
    rounding: Rounding,
    limits: Limits,
    parameters: StaticParameters,
    scale: F32,
) -> Callable[[I64], Codes]:
    """Sums to saturated codes.

    The multiplier is `input_scale * weight_scale / output_scale` from the left, in binary64, and in
    binary32 where rounding is "float".
    """
    given, taken, zero = (
        parameters.input_scale,
        parameters.output_scale,
        parameters.output_zero_point,
    )
    single = np.float32(given) * scale / np.float32(taken)
    real = given * scale.astype(np.float64) / taken
    fixed = fixed_points(real) if rounding in FIXED_POINT else None

    def codes(sums: I64) -> Codes:
        if rounding == "float":
            return requantize_float(sums.astype(np.int32), single, zero, limits.dtype.type)
        if fixed is None:
            wide = requantize_real(sums, real)
        else:
            wide = FIXED_POINT[rounding](sums.astype(np.int32), fixed)
        moved = wide.astype(np.int64) + zero
        saturated: Codes = np.clip(moved, limits.min, limits.max).astype(limits.dtype)
        return saturated

    return codes
