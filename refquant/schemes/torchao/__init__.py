"""torchao's weight formats, as canonical codes; layouts private to a kernel are not stored.

Source: pytorch/ao 0.18.0, torchao/quantization/quant_primitives.py and utils.py.
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.torchao import hqq, integers, scale_only, tinygemm, uintx

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = (
    *integers.FAMILIES,
    *tinygemm.FAMILIES,
    *hqq.FAMILIES,
    *scale_only.FAMILIES,
    *uintx.FAMILIES,
)
