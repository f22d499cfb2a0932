"""Elementary functions of binary32 numbers, correctly rounded.

The estimate is NumPy's function in binary64. Its error is bounded by 2**-46 of the result, 64 times
the largest error seen (two units of the last place, measured against MPFR); sine and cosine of
arguments beyond 1 get the same bound absolutely, because near a multiple of pi the reduction of the
argument decides. About one result in two million is decided by mpmath.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.correctly_rounded.nearest import (
    RealFunction,
    nearest_binary32,
    nearest_of_real,
    settle,
)

__all__ = ["cos", "erf", "exp", "log", "power", "reciprocal_sqrt", "sin", "tanh"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

ERROR = 2.0**-46
SMALLEST = 2.0**-160
"""Added to relative bounds, so that a result that underflows in binary64 has an enclosure too."""


def exp(x: F32) -> F32:  # f32[...] -> f32[...]
    """e**x."""
    return _function(x, np.exp, "exp")


def log(x: F32) -> F32:  # f32[...] -> f32[...]
    """The natural logarithm, as IEEE 754's: minus infinity for zeros, NaN below zero."""
    return _function(x, np.log, "log")


def tanh(x: F32) -> F32:  # f32[...] -> f32[...]
    """The hyperbolic tangent."""
    return _function(x, np.tanh, "tanh")


def erf(x: F32) -> F32:  # f32[...] -> f32[...]
    """The error function: 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return _function(x, _erf_estimate, "erf")


def sin(x: F32) -> F32:  # f32[...] -> f32[...]
    """The sine of an angle in radians."""
    return _function(x, np.sin, "sin", periodic=True)


def cos(x: F32) -> F32:  # f32[...] -> f32[...]
    """The cosine of an angle in radians."""
    return _function(x, np.cos, "cos", periodic=True)


def reciprocal_sqrt(x: F32) -> F32:  # f32[...] -> f32[...]
    """1 / sqrt(x), as IEEE 754's `rSqrt`: zeros give the infinity of their sign, NaN below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = 1.0 / np.sqrt(x.astype(np.float64))

    def decide(index: tuple[int, ...]) -> np.float32:
        return _nearest_reciprocal_root(Fraction(float(x[index])), float(estimate[index]))

    return settle(estimate, np.abs(estimate) * ERROR, decide)


def power(x: F32, y: F32) -> F32:  # f32[...], f32[...] -> f32[...]
    """x**y for x > 0, and what IEEE 754's `pow` says of special cases."""
    base, exponent = np.broadcast_arrays(x, y)
    with np.errstate(all="ignore"):
        estimate = np.power(base.astype(np.float64), exponent.astype(np.float64))

    def decide(index: tuple[int, ...]) -> np.float32:
        return _nearest_power(float(base[index]), float(exponent[index]))

    return settle(estimate, np.abs(estimate) * ERROR + SMALLEST, decide)


def _function(
    x: F32, estimator: Callable[[F64], F64], name: str, *, periodic: bool = False
) -> F32:  # f32[...] -> f32[...]
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        estimate = np.asarray(estimator(wide))
    error = np.abs(estimate) * ERROR
    if periodic:
        error = np.where(np.abs(wide) < 1.0, error, ERROR)

    def decide(index: tuple[int, ...]) -> np.float32:
        return np.float32(nearest_of_real(_real(name, float(x[index])), nearest_binary32))

    # Zero is its own sine, and its estimate is exact; an error of 0 leaves it alone.
    return settle(estimate, error, decide)


def _real(name: str, argument: float) -> RealFunction:
    return lambda context: getattr(context, name)(context.mpf(argument))


def _erf_estimate(x: F64) -> F64:  # f64[...] -> f64[...]
    flat = [math.erf(value) for value in x.ravel().tolist()]
    return np.array(flat, np.float64).reshape(x.shape)


def _nearest_reciprocal_root(x: Fraction, estimate: float) -> np.float32:
    """Whether 1 / sqrt(x) lies above the half-way point m: exactly when 1 > m * m * x."""
    low, high = sorted((np.float32(estimate * (1 - ERROR)), np.float32(estimate * (1 + ERROR))))
    middle = (Fraction(float(low)) + Fraction(float(high))) / 2
    # Equality would need a power of four with an odd factor: it does not happen.
    return np.float32(high if middle * middle * x < 1 else low)


def _nearest_power(x: float, y: float) -> np.float32:
    sign = -1 if x < 0 and y % 2 == 1 else 1
    base, exponent = Fraction(abs(x)), Fraction(y)

    def tie(candidate: Fraction) -> bool:
        # A root of 2**k is rational only for k-th powers, and a significand has 24 bits.
        root = exponent.denominator
        return root <= 16 and candidate**root == base**exponent.numerator

    nearest = nearest_of_real(
        lambda context: context.power(context.mpf(abs(x)), context.mpf(y)), nearest_binary32, tie
    )
    return np.float32(sign * nearest)
