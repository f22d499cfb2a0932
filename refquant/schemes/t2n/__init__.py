"""torch-to-nnef's weight formats, which sonos' tract reads from NNEF archives.

Sources: sonos/torch-to-nnef 0.24.12, tensor/quant/base.py and qtract.py (Q40); torch 2.13,
ao/quantization/observer.py and `quantize_per_tensor` (8-bit affine codes, which it exports).
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.t2n import affine, q40

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = affine.SCHEMES
FAMILIES: tuple[Family, ...] = (*q40.FAMILIES, *affine.FAMILIES)
