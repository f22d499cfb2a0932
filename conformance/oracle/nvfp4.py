"""NVFP4 with a scale of the tensor in plain Python: a whole tensor at a time.

Written from the clauses of mx/nvfp4 in the ledger.
"""

import math
from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["decode", "encode"]


def encode(x: Sequence[float], convention: str) -> tuple[float, list[int], list[int]]:
    """The scale of the tensor, the codes of the blocks' scales, and those of the elements."""
    tensor_scale = binary.divide(max(abs(v) for v in x), 2688.0)
    scales, codes = [], []
    for start in range(0, len(x), 16):
        block = x[start : start + 16]
        largest = max(abs(v) for v in block)
        if convention == "modelopt":
            bits, elements = by_modelopt(block, largest, tensor_scale)
        else:
            bits, elements = by_torchao(block, largest, tensor_scale)
        scales.append(bits)
        codes += [0] * 16 if tensor_scale == 0 else elements
    return tensor_scale, scales, codes


def by_modelopt(
    block: Sequence[float], largest: float, tensor_scale: float
) -> tuple[int, list[int]]:
    """The block's largest magnitude over 6 times the tensor's scale; weights over a product."""
    scale = 1.0
    if largest != 0 and tensor_scale != 0:
        scale = binary.divide(largest, binary.multiply(6.0, tensor_scale)) or 1.0
    bits = binary.encode(max(2.0**-9, min(scale, 448.0)), binary.FLOAT8_E4M3FN)
    whole = binary.multiply(binary.decode(bits, binary.FLOAT8_E4M3FN), tensor_scale)
    scaled = [binary.divide(v, whole) if v else 0.0 for v in block]
    return bits, [element(v) if v else 0 for v in scaled]


def by_torchao(
    block: Sequence[float], largest: float, tensor_scale: float
) -> tuple[int, list[int]]:
    """A sixth of the block's largest magnitude over the tensor's scale; then a quotient."""
    scale = binary.divide(binary.divide(largest, 6.0), tensor_scale) if tensor_scale else 1.0
    bits = binary.encode(max(2.0**-6, min(scale, 448.0)), binary.FLOAT8_E4M3FN)
    reciprocal = binary.divide(
        binary.divide(1.0, tensor_scale), binary.decode(bits, binary.FLOAT8_E4M3FN)
    )
    signed = [8 if math.copysign(1, v) < 0 else 0 for v in block]
    return bits, [
        element(binary.multiply(v, reciprocal)) if v else sign
        for v, sign in zip(block, signed, strict=True)
    ]


def element(value: float) -> int:
    """The nearest E2M1 code, ties to even, saturating."""
    return binary.encode(value, binary.FLOAT4_E2M1, "saturate")


def decode(tensor_scale: float, scale: int, code: int) -> float:
    """`(scale * tensor_scale) * element`."""
    whole = binary.multiply(binary.decode(scale, binary.FLOAT8_E4M3FN), tensor_scale)
    return binary.multiply(whole, binary.decode(code, binary.FLOAT4_E2M1))
