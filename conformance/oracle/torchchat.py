"""torchchat's embedding tables and 8-bit layers in plain Python, one group at a time.

Written from the clauses of conformance/registry/evidence/torchchat.json.
"""

import math
from collections.abc import Mapping, Sequence

from conformance.oracle import binary
from conformance.oracle.streams import high_nibble_first, low_bits_first

__all__ = ["packed", "value", "weight_only"]

Knobs = Mapping[str, str | int]

FORMS = {"f32": binary.FLOAT32, "f16": binary.FLOAT16, "bf16": binary.BFLOAT16}


def weight_only(x: Sequence[float], bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale, 0 (there is no zero point) and the codes."""
    largest = max(0.0, *x, *(-v for v in x))
    half = 127.5 if bits == 8 else 7.5
    scale = max(2.0**-23, binary.divide(largest, half))
    low, high = (-128, 127) if bits == 8 else (-8, 7)
    codes = []
    for v in x:
        quotient = binary.divide(v, scale)
        if math.isfinite(quotient):
            codes.append(max(low, min(binary.half_even(quotient), high)))
        else:
            codes.append(0 if math.isnan(quotient) else high if quotient > 0 else low)
    return binary.encode(scale, FORMS[str(knobs["scale"])]), 0, codes


def packed(codes: Sequence[int], bits: int, _knobs: Knobs) -> bytes:
    """A byte a code, or a byte for two codes, each plus 8, the even one in the upper half."""
    return low_bits_first(codes, 8) if bits == 8 else high_nibble_first([c + 8 for c in codes])


def value(scale: int, _zero: int, code: int, knobs: Knobs) -> float:
    """`scale * code`, rounded once."""
    return binary.multiply(binary.decode(scale, FORMS[str(knobs["scale"])]), float(code))
