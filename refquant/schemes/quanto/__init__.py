"""optimum-quanto's weight types: 8 bits under a scale, 4 and 2 bits with a shift.

Source: huggingface/optimum-quanto 0.2.7, tensor/optimizers (scales and shifts),
library/quantize.py (codes), tensor/packed.py (bytes), tensor/qbits.py and qbytes.py (values).
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.quanto import shifted, symmetric

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = (*symmetric.FAMILIES, *shifted.FAMILIES)
