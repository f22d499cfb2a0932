"""TFLite's quantized tensors, as the operators QUANTIZE and DEQUANTIZE of LiteRT read them.

Sources: tensorflow/tensorflow, lite/tools/optimize/quantization_utils.cc (scales, zero points),
lite/kernels/internal/reference/quantize.h (codes); ai-edge-litert 2.3.0 (optimized kernels).
"""

from refquant.driver import Scheme
from refquant.schemes.names import Family
from refquant.schemes.tflite import integers

__all__ = ["FAMILIES", "SCHEMES"]

SCHEMES: tuple[Scheme, ...] = ()
FAMILIES: tuple[Family, ...] = integers.FAMILIES
