"""The rules by which ggml and MLX choose the power of two of an MX block.

They are the rules of `ggml/mxfp4`, `mlx/mxfp4` and `mlx/mxfp8`, as choices for every MX format.
Where the specification holds a scale to 0..254 they let its code wrap around, as a cast to 8 bits
does: a block with tiny weights may get scale 255, which the formats read as NaN.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.ggml.fp4 import floor_of_log2
from refquant.schemes.mlx.block_floats import powers

__all__ = ["ENGINE_RULES", "engine_scale_codes"]

F32 = NDArray[np.float32]

ENGINE_RULES = ("ggml", "mlx_old", "mlx_new")
BIAS = 127
ONE = np.float32(1)


def engine_scale_codes(
    magnitude: F32, rule: str, emax: int, largest: float
) -> NDArray[np.uint8]:  # f32[b] -> u8[b]
    """The scale of each block from its largest magnitude, wrapped around to 8 bits.

    `emax` and `largest` are the exponent and the value of the largest element. A block of zeros
    has scale 0 under ggml's rule and 127 under MLX's.
    """
    if rule == "ggml":
        used = magnitude > 0
        exponent = floor_of_log2(np.where(used, magnitude, ONE)) - emax
        return np.where(used, (exponent + BIAS) & 255, 0).astype(np.uint8)
    quotient = magnitude / np.float32(largest)
    used = quotient > 0
    found = powers(np.where(used, quotient, ONE), "ceil" if rule == "mlx_new" else "round")
    return np.where(used, (found + BIAS) & 255, BIAS).astype(np.uint8)
