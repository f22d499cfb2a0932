"""ONNX's quantized tensors in plain Python: one group at a time.

Written from the clauses in conformance/registry/evidence/onnx.json.
"""

import math
from collections.abc import Sequence

from conformance.oracle import binary

__all__ = ["linear", "matmul", "runtime"]

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


def matmul(x: Sequence[float], bits: int, symmetry: str, quantizer: str = "linear") -> Codes:
    """The fields of a block; the middle zero point is not stored."""
    rule = runtime if quantizer == "runtime" else linear
    found = rule(x, bits, "uint", symmetry)
    if symmetry == "sym":
        del found["z"]
    return found


def runtime(x: Sequence[float], bits: int, _kind: str, symmetry: str) -> Codes:
    """The fields of a block as ONNX Runtime's own quantizer chooses them."""
    most = 2**bits - 1
    if symmetry == "sym":
        # The first of equals with a negative one before a positive one.
        extreme = min((v for v in x if abs(v) == max(map(abs, x))), default=0.0) or x[0]
        scale, zero = binary.divide(extreme, -float(2 ** (bits - 1))), 2 ** (bits - 1)
    else:
        low, high = min(0.0, *x), max(0.0, *x)
        scale = binary.divide(binary.subtract(high, low), float(most))
        zero = away(binary.divide(-low, scale), most) if scale else 0
    inverse = binary.divide(1.0, scale) if scale else 0.0
    codes = [away(binary.add(binary.multiply(v, inverse), float(zero)), most) for v in x]
    return {"s": [binary.encode(scale, binary.FLOAT32)], "z": [zero], "q": codes}


def away(value: float, most: int) -> int:
    """The nearest integer, ties away from zero, limited to 0..most; 0 for what is no number."""
    if math.isnan(value):
        return 0
    return binary.half_away(max(0.0, min(float(most), value)))
