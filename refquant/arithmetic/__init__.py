"""Integer arithmetic as engines do it: exact products, quantizers, requantization, layers."""

from refquant.arithmetic.activations import (
    QuantizedRows,
    litert_asymmetric,
    litert_symmetric,
    torchao_per_token,
    xnnpack_asymmetric,
)
from refquant.arithmetic.block_dot import (
    block_partials,
    ggml_offset_dot,
    ggml_q4_0_dot,
    ggml_scaled_dot,
    ggml_super_dot,
)
from refquant.arithmetic.fused import fused_multiply_add
from refquant.arithmetic.ggml_rows import BlockRows, ggml_x86_blocks
from refquant.arithmetic.integer import block_sums, integer_matmul, saturating_cast
from refquant.arithmetic.layers import (
    litert_block_layer,
    litert_int4_layer,
    litert_layer,
    torchao_layer,
    xnnpack_block_layer,
    xnnpack_layer,
)
from refquant.arithmetic.requantize import (
    FixedPoint,
    fixed_point,
    fixed_points,
    requantize_double_rounding,
    requantize_float,
    requantize_int64,
    requantize_real,
    requantize_single_rounding,
    requantize_ties_up,
)
from refquant.arithmetic.static import (
    StaticLayer,
    StaticParameters,
    static_layer,
    static_parameters,
)

__all__ = [
    "BlockRows",
    "FixedPoint",
    "QuantizedRows",
    "StaticLayer",
    "StaticParameters",
    "block_partials",
    "block_sums",
    "fixed_point",
    "fixed_points",
    "fused_multiply_add",
    "ggml_offset_dot",
    "ggml_q4_0_dot",
    "ggml_scaled_dot",
    "ggml_super_dot",
    "ggml_x86_blocks",
    "integer_matmul",
    "litert_asymmetric",
    "litert_block_layer",
    "litert_int4_layer",
    "litert_layer",
    "litert_symmetric",
    "requantize_double_rounding",
    "requantize_float",
    "requantize_int64",
    "requantize_real",
    "requantize_single_rounding",
    "requantize_ties_up",
    "saturating_cast",
    "static_layer",
    "static_parameters",
    "torchao_layer",
    "torchao_per_token",
    "xnnpack_asymmetric",
    "xnnpack_block_layer",
    "xnnpack_layer",
]
