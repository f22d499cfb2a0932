"""torchchat's own quantizers for embeddings and 8-bit linear layers.

Source: pytorch/torchchat at a1a7f37, utils/quantize.py (`dynamically_quantize_per_channel`
and its two handlers). Its 4-bit linear layers are torchao's.
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.torchchat import weight_only

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = weight_only.FAMILIES
