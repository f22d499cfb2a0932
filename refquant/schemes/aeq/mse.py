"""AI Edge's MSE scales: a fixed multiple of the root mean square, best for normal weights.

Source: google-ai-edge/ai-edge-quantizer 0.10.0, algorithms/uniform_quantize/mse.py. The origin
adds the squares in binary32 in whatever order NumPy has; here their sum is folded in binary64.
A group of zeros has scale 0: nothing floors it.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.aeq.sums import folded_sum
from refquant.schemes.affine import Rule

__all__ = ["MULTIPLES", "scales"]

F32 = NDArray[np.float32]

MULTIPLES = {8: 0.05408, 4: 0.37755}
"""Scale over root mean square, by bits; the origin's constants."""


def scales(x: F32, rule: Rule) -> F32:  # f32[g, n] -> f32[g]
    """Scales: squares, mean, root and product are each rounded to binary32."""
    mean = (folded_sum(x * x) / x.shape[1]).astype(np.float32)
    return np.asarray(np.float32(MULTIPLES[int(rule["bits"])]) * np.sqrt(mean))
