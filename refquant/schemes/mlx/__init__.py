"""MLX's formats: affine groups, and its encoders of the microscaling formats.

Source: ml-explore/mlx 0.32.4, mlx/ops.cpp (quantize, fp_quantize) and
mlx/backend/cpu/quantized.cpp.
"""

from refquant.driver import Scheme
from refquant.schemes.mlx import affine, block_floats
from refquant.schemes.names import Family

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = block_floats.SCHEMES
FAMILIES: tuple[Family, ...] = (*affine.FAMILIES, *block_floats.FAMILIES)
