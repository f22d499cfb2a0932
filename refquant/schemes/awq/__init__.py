"""AWQ checkpoints in the GEMM packing: 4-bit codes of eight outputs in a word.

Source: the tensors `qweight`, `qzeros` and `scales` that AutoAWQ writes (WQLinear_GEMM).
"""

from refquant.driver import Scheme
from refquant.schemes.awq import words
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = words.FAMILIES
