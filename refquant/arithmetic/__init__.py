"""Integer arithmetic as engines do it: exact products, activation quantizers, requantization."""

from refquant.arithmetic.activations import (
    QuantizedRows,
    litert_asymmetric,
    litert_symmetric,
    torchao_per_token,
    xnnpack_asymmetric,
)
from refquant.arithmetic.integer import integer_matmul, saturating_cast
from refquant.arithmetic.requantize import (
    FixedPoint,
    fixed_point,
    requantize_double_rounding,
    requantize_float,
    requantize_int64,
    requantize_single_rounding,
)

__all__ = [
    "FixedPoint",
    "QuantizedRows",
    "fixed_point",
    "integer_matmul",
    "litert_asymmetric",
    "litert_symmetric",
    "requantize_double_rounding",
    "requantize_float",
    "requantize_int64",
    "requantize_single_rounding",
    "saturating_cast",
    "torchao_per_token",
    "xnnpack_asymmetric",
]
