"""ONNX's quantized tensors in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/onnx.json.
"""

import math
from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["linear", "matmul"]

Codes = dict[str, list[int]]

LARGEST = binary.decode(0x7F7FFFFF, binary.FLOAT32)


def rounded(value: float, least: int, most: int) -> int:
    """The nearest integer, ties to even, limited far outside of all codes."""
    return binary.half_even(max(2.0 * least - 1e6, min(2.0 * most + 1e6, value)))


def linear(x: Sequence[float], bits: int, kind: str, symmetry: str) -> Codes:
    """The fields of a group; `kind` is int or uint."""
    least = -(2 ** (bits - 1)) if kind == "int" else 0
    most = least + 2**bits - 1
    low, high = min(0.0, *x), max(0.0, *x)
    if symmetry == "sym":
        scale = binary.divide(max(-low, high), float(2 ** (bits - 1) - 1)) or 1.0
        zero = 0 if kind == "int" else 2 ** (bits - 1)
    else:
        scale = binary.divide(binary.subtract(high, low), float(2**bits - 1)) or 1.0
        scale = LARGEST if math.isinf(scale) else scale
        exact = binary.subtract(float(least), binary.divide(low, scale))
        zero = binary.half_even(max(float(least), min(float(most), exact)))
    codes = [max(least, min(most, rounded(binary.divide(v, scale), least, most) + zero)) for v in x]
    found = {"s": [binary.encode(scale, binary.FLOAT32)], "q": codes}
    return found if symmetry == "sym" and kind == "int" else found | {"z": [zero]}


def matmul(x: Sequence[float], bits: int, symmetry: str) -> Codes:
    """The fields of a block; the middle zero point is not stored."""
    found = linear(x, bits, "uint", symmetry)
    if symmetry == "sym":
        del found["z"]
    return found
