"""bitnet.cpp's ternary tensors.

Source: microsoft/BitNet, src/ggml-bitnet-mad.cpp (`quantize_i2_s`).
"""

from refquant.driver import Scheme
from refquant.schemes.bitnet import i2_s
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = i2_s.FAMILIES
