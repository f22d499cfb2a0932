"""Float layers with integer weights: what engines do between their integer sums and the output.

Codes and sums are the same in all engines; the order in which scales and bias are applied is not,
and neither is which of these steps are fused. Each function is one engine's order, so its output
can be compared with that engine bit for bit. Weights are codes [n, k], one row for each output.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.activations import QuantizedRows
from refquant.arithmetic.fused import fused_multiply_add
from refquant.arithmetic.integer import block_sums, integer_matmul
from refquant.errors import SchemeError
from refquant.numerics import bfloat16_bits, float32_from_bfloat16

__all__ = [
    "litert_block_layer",
    "litert_int4_layer",
    "litert_layer",
    "torchao_layer",
    "xnnpack_block_layer",
    "xnnpack_layer",
]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]


def litert_layer(rows: QuantizedRows, weights: Codes, scale: F32, bias: F32) -> F32:
    """LiteRT's hybrid kernels, one scale a channel: `sum * (row_scale * channel_scale) + bias`.

    Raises `SchemeError` for a weight of -128, which the file format rules out: on x86-64 its
    products with negative activations come out negative. Source: ai-edge-litert 2.3.0: reference
    kernels at 8, 4 and 2 bits, optimized ones at 8 and 2.
    """
    _refuse(weights, -128)
    step = rows.scale[:, None] * scale
    return np.asarray(_centred_sums(rows, weights) * step + bias)


def litert_int4_layer(rows: QuantizedRows, weights: Codes, scale: F32, bias: F32) -> F32:
    """LiteRT's optimized kernel for int4 weights, one scale a channel, symmetric activations.

    Weights are held as `code + 7`, so that the sum of activation codes has to be taken off again:
    `((-7 * sum(x)) * row_scale * channel_scale + bias) + sum((w + 7) * x) * row_scale *
    channel_scale`, each step rounded. Both terms can be far larger than their difference. Raises
    `SchemeError` for a weight of -8: the kernel reads it as +8, and in the upper half of 32 codes
    it overwrites the code 16 before it. Source: ai-edge-litert 2.3.0 on x86-64.
    """
    _refuse(weights, -8)
    held = weights + np.int8(7)
    codes = rows.codes
    offsets = (codes.sum(axis=1, dtype=np.int32) * np.int32(-7)).astype(np.float32)
    start = (offsets * rows.scale)[:, None] * scale + bias
    sums = integer_matmul(codes, held).astype(np.float32)
    return np.asarray(start + (sums * rows.scale[:, None]) * scale)


def litert_block_layer(rows: QuantizedRows, weights: Codes, scale: F32, bias: F32) -> F32:
    """LiteRT's optimized kernel for weights in blocks; `scale` is [n, blocks].

    Blocks are added in order; the zero point times `sum(block sum of weights * scale)` comes off,
    then follow the row's scale and the bias. Source: ai-edge-litert 2.3.0.
    """
    totals = np.zeros((len(rows.codes), len(weights)), np.float32)
    for index, sums in enumerate(_by_block(rows.codes, weights, scale)):
        totals += sums.astype(np.float32) * scale[:, index]
    totals -= rows.zero_point.astype(np.float32)[:, None] * _scaled_weights(weights, scale)
    return np.asarray(totals * rows.scale[:, None] + bias)


def xnnpack_layer(
    rows: QuantizedRows, weights: Codes, scale: F32, bias: F32, *, fused: bool = True
) -> F32:
    """XNNPACK's qd8 kernels, one scale a channel: `(sum * row_scale) * channel_scale + bias`.

    The last product and the bias are one fused operation where the processor has it. Source:
    XNNPACK in ai-edge-litert 2.3.0, weights of 8, 4 and 2 bits.
    """
    sums = _centred_sums(rows, weights) * rows.scale[:, None]
    return _multiply_add(sums, scale, bias, fused=fused)


def xnnpack_block_layer(
    rows: QuantizedRows,
    weights: Codes,
    scale: F32,
    bias: F32,
    *,
    offset: int = 0,
    fused: bool = True,
) -> F32:
    """XNNPACK's qd8 x qb4w kernels: block sums times scales, added in order; `scale` [n, blocks].

    Scales are rounded to bfloat16 when weights are packed. The total starts at `-(zero_point +
    offset) * sum(block sum of weights * scale)`, and the activations count as `code + offset`:
    128 where the processor multiplies unsigned by signed bytes (VNNI), else 0.
    """
    held = float32_from_bfloat16(bfloat16_bits(scale))
    zero = (rows.zero_point + np.int32(offset)).astype(np.float32)[:, None]
    totals = -zero * _scaled_weights(weights, held)
    codes = rows.codes.astype(np.int16) + np.int16(offset)
    for index, sums in enumerate(_by_block(codes, weights, scale)):
        totals = _multiply_add(sums.astype(np.float32), held[:, index], totals, fused=fused)
    return _multiply_add(totals, rows.scale[:, None], bias, fused=fused)


def torchao_layer(rows: QuantizedRows, values: F32, bias: F32) -> F32:
    """Torchao's 8da4w layer in eager mode: dequantized activations times dequantized weights.

    f32[n, k], f32[n] -> f32[m, n]. No integer product: both operands are binary32 numbers and the
    order of their sum is the processor's. Here it is taken in binary64 and rounded once, so that an
    engine's result may differ by (k + 1) roundings of the sum of magnitudes. Source: torchao 0.18,
    linear_quant_modules.py (linear_forward_8da4w).
    """
    product = rows.dequantize().astype(np.float64) @ values.astype(np.float64).T
    return np.asarray(product + bias, np.float32)


def _refuse(weights: Codes, code: int) -> None:
    if (weights == code).any():
        raise SchemeError(f"weights with a code of {code}: this kernel takes {code + 1} and above")


def _multiply_add(a: F32, b: F32, c: F32, *, fused: bool) -> F32:
    return fused_multiply_add(a, b, c) if fused else np.asarray(a * b + c)


def _centred_sums(rows: QuantizedRows, weights: Codes) -> F32:  # -> f32[m, n]
    """`sum((x - zero_point) * w)`, exact in int32, rounded once to binary32."""
    sums = integer_matmul(rows.codes, weights)
    sums -= rows.zero_point[:, None] * weights.sum(axis=1, dtype=np.int32)
    return sums.astype(np.float32)


def _by_block(codes: Codes, weights: Codes, scale: F32) -> NDArray[np.int32]:
    """Block sums i32[blocks, m, n]."""
    blocks = scale.shape[1]
    if scale.shape[0] != len(weights) or not blocks or weights.shape[1] % blocks:
        raise SchemeError(
            f"scales {list(scale.shape)} for weights {list(weights.shape)}: expected one row for "
            "each row of weights, and a number of blocks that divides its length"
        )
    return block_sums(codes, weights, weights.shape[1] // blocks)


def _scaled_weights(weights: Codes, scale: F32) -> F32:  # int[n, k], f32[n, blocks] -> f32[n]
    """`sum over blocks of (sum of the block's weights) * scale`, in order."""
    sums = weights.reshape(len(weights), scale.shape[1], -1).sum(axis=2, dtype=np.int32)
    total = np.zeros(len(weights), np.float32)
    for index in range(scale.shape[1]):
        total += sums[:, index].astype(np.float32) * scale[:, index]
    return total
