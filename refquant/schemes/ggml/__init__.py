"""Block formats of ggml and llama.cpp, as the C reference computes them without FMA contraction.

Source: ggml-org/ggml, src/ggml-quants.c (`quantize_row_*_ref`, `dequantize_row_*`), checked
against ggml 0.15.3 built with -ffp-contract=off and against gguf 0.19.0.
"""

from refquant.driver import Scheme
from refquant.schemes.ggml import fp4, iq4, k_affine, k_symmetric, q1_q2, q4, q5, q8, ternary
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = (
    *q1_q2.SCHEMES,
    *q4.SCHEMES,
    *q5.SCHEMES,
    *q8.SCHEMES,
    *k_affine.SCHEMES,
    *k_symmetric.SCHEMES,
    *iq4.SCHEMES,
    *fp4.SCHEMES,
    *ternary.SCHEMES,
)

FAMILIES: tuple[Family, ...] = iq4.FAMILIES
