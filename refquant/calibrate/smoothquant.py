"""SmoothQuant: columns of the input that reach far become smaller, those of the weights larger.

The product x @ w.T stays what it is when column j of the weights is multiplied by s[j] and that of
the input divided by it. Activations are quantized with one scale for all columns, so an outlier
column costs all others their codes; weights bear it better. With strength a,

    s[j] = max|x[j]|**a / max|w[j]|**(1 - a)

Source: Xiao, Lin, Seznec, Wu, Demouth and Han, "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models" (2022), equation 4. The norm before the matrices takes the
division over.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError

__all__ = ["smoothing_scales"]

F32 = NDArray[np.float32]

LEAST = 1e-5
"""A column's weights count as reaching this far at least, as do its inputs: the origin's floor."""


def smoothing_scales(
    weights: Sequence[F32], largest: NDArray[np.float64], alpha: float = 0.5
) -> F32:  # [f32[n, k]], f64[k] -> f32[k]
    """The scales of the columns of matrices that share their input.

    `largest` is the largest magnitude of each input; `alpha` says how much of its reach goes over.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"SmoothQuant's alpha is {alpha}, expected 0 to 1")
    reach = np.max([np.abs(matrix).max(axis=0) for matrix in weights], axis=0).astype(np.float64)
    scales = np.maximum(largest, LEAST) ** alpha / np.maximum(reach, LEAST) ** (1 - alpha)
    return np.asarray(np.maximum(scales, LEAST), np.float32)
