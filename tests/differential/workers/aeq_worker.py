"""Runs AI Edge Quantizer on weights: `aeq_worker.py REQUEST.npz ANSWER.npz`, in its environment.

The request holds `x`, `bits`, `symmetric` and `granularity` (CHANNELWISE, TENSORWISE or
BLOCKWISE_n); the answer holds `codes`, `scale`, `zero_point`, `values` and `packed`.
"""

import sys

import numpy as np
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform
from ai_edge_quantizer.transformations import transformation_utils

asked = np.load(sys.argv[1])
x, bits, symmetric = asked["x"], int(asked["bits"]), bool(asked["symmetric"])
granularity = qtyping.QuantGranularity[str(asked["granularity"])]
block = uniform.extract_block_size_from_granularity(granularity)
if block:
    grouped = x.reshape(x.shape[0], -1, block)
    low, high = grouped.min(axis=2), grouped.max(axis=2)
    axis = 1
elif granularity == qtyping.QuantGranularity.CHANNELWISE:
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    axis = 0
else:
    low, high = x.min(keepdims=True), x.max(keepdims=True)
    axis = None
with np.errstate(all="ignore"):
    zero_point, scale = uniform.tensor_zp_scale_from_min_max(
        low, high, bits, symmetric, granularity
    )
    parameters = qtyping.UniformQuantParams(
        num_bits=bits,
        quantized_dimension=axis,
        scale=scale,
        zero_point=zero_point,
        symmetric=symmetric,
        block_size=block,
    )
    codes = uniform.uniform_quantize(x, parameters, bool(block))
    values = uniform.uniform_dequantize(codes.astype(np.int32), parameters)
np.savez(
    sys.argv[2],
    codes=codes,
    scale=scale,
    zero_point=zero_point,
    values=values,
    packed=transformation_utils.pack_data(bits, codes.view(np.uint8)),
)
