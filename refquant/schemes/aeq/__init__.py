"""AI Edge Quantizer's weight formats, the ones that LiteRT executes.

Source: google-ai-edge/ai-edge-quantizer 0.10.0, algorithms/uniform_quantize/
uniform_quantize_tensor.py (`tensor_zp_scale_from_min_max`, `uniform_quantize`).
"""

from refquant.driver import Scheme
from refquant.schemes.aeq import integers
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = integers.SCHEMES
FAMILIES: tuple[Family, ...] = integers.FAMILIES
