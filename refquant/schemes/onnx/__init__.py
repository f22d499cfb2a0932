"""ONNX's quantized tensors: QuantizeLinear, DynamicQuantizeLinear, and MatMulNBits' weights.

Sources: onnx/onnx 1.23.2, docs of the operators (QuantizeLinear 21 and later);
microsoft/onnxruntime 1.31.1, com.microsoft.MatMulNBits.
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.onnx import linear, matmul

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = linear.SCHEMES
FAMILIES: tuple[Family, ...] = (*linear.FAMILIES, *matmul.FAMILIES)
