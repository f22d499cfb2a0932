"""compressed-tensors' formats, which vLLM executes and LLM Compressor writes.

Source: vllm-project/compressed-tensors 0.20.0, quantization/utils/helpers.py (scales, zero
points), quantization/lifecycle/forward_helpers.py (codes), compressors/ (planes).
"""

from refquant.driver import Scheme
from refquant.schemes.ct import floats, fp4, integers
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = (
    *integers.FAMILIES,
    *floats.FAMILIES,
    *fp4.FAMILIES,
)
