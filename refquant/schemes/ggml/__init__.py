"""Block formats of ggml and llama.cpp, as the C reference computes them without FMA contraction.

Source: ggml-org/ggml, src/ggml-quants.c (`quantize_row_*_ref`, `dequantize_row_*`), checked
against ggml 0.15.3 built with -ffp-contract=off and against gguf 0.19.0.
"""

from refquant.driver import Scheme
from refquant.schemes.ggml import k_affine, k_symmetric, q1_q2, q4, q5, q8

__all__ = ["SCHEMES"]

SCHEMES: tuple[Scheme, ...] = (
    *q1_q2.SCHEMES,
    *q4.SCHEMES,
    *q5.SCHEMES,
    *q8.SCHEMES,
    *k_affine.SCHEMES,
    *k_symmetric.SCHEMES,
)
