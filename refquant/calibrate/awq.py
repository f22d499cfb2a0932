"""AWQ: scale up the columns whose inputs are large, so that rounding hurts them less.

Column j of the weights is multiplied by s[j] and the input divided by it, which leaves the product
as it is, while the column's relative error falls. s = mean|x|**a, where a is searched on a grid for
the least error of the layer's outputs; then s is centred around 1.

Source: Lin, Tang, Tang, Yang, Dang and Han, "AWQ: Activation-aware Weight Quantization" (2023),
section 3.2, with the centring and the grid of 20 steps of their code, which also clips groups
afterwards (`clipping.least_squares`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.tensor import quantize

__all__ = ["awq_scales"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

STEPS = 20
LEAST = 1e-4


def awq_scales(
    weights: Sequence[F32], magnitudes: F64, hessian: F64, schemes: Sequence[Scheme]
) -> F32:  # [f32[n, k]], f64[k], f64[k, k], [scheme] -> f32[k]
    """The scales of the columns of matrices that share their input, each under its scheme.

    `magnitudes` are the means of the inputs' absolute values, `hessian` the sums of products of
    any two inputs. All ones, the first step of the grid, wins ties.
    """
    best, least = np.ones(len(magnitudes), np.float32), np.inf
    # Binary32 tells the steps of the grid apart, in half the time.
    products = (hessian / max(np.abs(hessian).max(), LEAST)).astype(np.float32)
    for step in range(STEPS):
        scales = _scales(magnitudes, step / STEPS)
        error = sum(
            _error(quantize(matrix * scales, scheme).dequantize() / scales - matrix, products)
            for matrix, scheme in zip(weights, schemes, strict=True)
        )
        if error < least:
            best, least = scales, error
    return best


def _error(away: F32, products: F32) -> float:  # f32[n, k], f32[k, k] -> trace(A H A.T)
    return float(np.vdot(away @ products, away))


def _scales(magnitudes: F64, power: float) -> F32:
    raised = np.maximum(magnitudes, LEAST) ** power
    centred = raised / np.sqrt(raised.max() * raised.min())
    scales: F32 = np.maximum(centred, LEAST).astype(np.float32)
    return scales
