"""HQQ's groups: integer codes with a real zero point.

Source: hqq 0.2.8, hqq/core/quantize.py (Quantizer.quantize).
"""

from refquant.driver import Scheme
from refquant.schemes.hqq import affine
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = affine.FAMILIES
