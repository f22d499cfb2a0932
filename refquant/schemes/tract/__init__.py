"""The block formats of sonos' tract, the engine that runs NNEF models.

Source: sonos/tract 0.23.9, linalg/src/frame/block_quant (q4_0.rs, q8_1.rs, q20t.rs).
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.tract import blocks

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = blocks.SCHEMES
FAMILIES: tuple[Family, ...] = ()
