"""AI Edge's integers and float16 cast in plain Python, one group of weights at a time.

Written from the clauses of conformance/registry/evidence/aeq.json.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary
from conformance.oracle.streams import low_bits_first

__all__ = ["chosen", "fp16", "hadamard", "integers", "mse", "octav", "packed", "value"]

Knobs = Mapping[str, str | int]

LEAST_EXTENT = binary.f32(1e-9)


def integers(x: Sequence[float], bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale, the zero point (0 where there is none) and the codes."""
    qmax = 2 ** (bits - 1) - 1
    if knobs["symmetry"] == "sym":
        bound = max(LEAST_EXTENT, *(abs(v) for v in x))
        return chosen(x, bits, binary.divide(bound, float(qmax)), knobs)
    qmin = -qmax - 1
    low, high = min(0.0, *x), max(0.0, *x)
    extent = max(LEAST_EXTENT, binary.subtract(high, low))
    scale = binary.divide(extent, float(qmax - qmin))
    zero = nearest(binary.subtract(float(qmin), binary.divide(low, scale)), qmin, qmax)
    codes = [nearest(binary.add(binary.divide(v, scale), float(zero)), qmin, qmax) for v in x]
    return binary.encode(scale, binary.FLOAT32), zero, codes


def chosen(x: Sequence[float], bits: int, scale: float, knobs: Knobs) -> tuple[int, int, list[int]]:
    """Symmetric codes by a scale that is given: stored first, then divided by."""
    qmax = 2 ** (bits - 1) - 1
    lowest = -qmax if bits == 8 else -qmax - 1
    form = binary.FLOAT32
    if knobs["granularity"] == "block":
        scale = binary.decode(binary.encode(scale, binary.BFLOAT16), binary.BFLOAT16)
        form = binary.FLOAT16
    stored = binary.encode(scale, form)
    used = binary.decode(stored, form)
    return stored, 0, [nearest(binary.divide(v, used), lowest, qmax) for v in x]


def nearest(real: float, lowest: int, highest: int) -> int:
    """The nearest code, ties to even, in `lowest..highest`; NaN becomes 0."""
    if math.isnan(real):
        return 0
    if math.isinf(real):
        return highest if real > 0 else lowest
    return max(lowest, min(binary.half_even(real), highest))


def packed(codes: Sequence[int], bits: int, _knobs: Knobs) -> bytes:
    """The bytes of a row of codes."""
    return low_bits_first(codes, bits)


def value(scale: int, zero: int, code: int, knobs: Knobs) -> float:
    """`scale * (code - zero_point)`, rounded once."""
    form = binary.FLOAT16 if knobs["granularity"] == "block" else binary.FLOAT32
    return binary.multiply(binary.decode(scale, form), float(code - zero))


def fp16(weight: float) -> int:
    """The binary16 code of a weight, infinite from 65520."""
    return binary.encode(weight, binary.FLOAT16)


def folded(numbers: Sequence[float]) -> float:
    """The sum in binary64: the last half is added to the first until one number is left."""
    left = list(numbers)
    while len(left) > 1:
        kept = (len(left) + 1) // 2
        paired = len(left) - kept
        left = [left[i] + left[kept + i] if i < paired else left[i] for i in range(kept)]
    return left[0]


def octav(groups: Sequence[Sequence[float]], bits: int, knobs: Knobs) -> list[float]:
    """The scales, before their storage, of all groups of a tensor, which stop together."""
    clips = [1.0] * len(groups)
    for _ in range(10):
        last = clips
        pairs = zip(groups, last, strict=True)
        clips = [next_clip(x, clip, bits, knobs) for x, clip in pairs]
        if all(close(a, b) for a, b in zip(last, clips, strict=True)):
            break
    scales = []
    for x, clip in zip(groups, clips, strict=True):
        bound = min(clip, max(LEAST_EXTENT, *(abs(v) for v in x)))
        if knobs["granularity"] == "block":
            bound = min(bound, 65280.0 * (2**bits - 1))
        scales.append(binary.divide(bound, float(2 ** (bits - 1) - 1)))
    return scales


def next_clip(x: Sequence[float], clip: float, bits: int, knobs: Knobs) -> float:
    """One step of Newton's method; a clip of 0 counts weights of 0 twice."""
    share = binary.f32(Fraction(1, 3 * 4**bits))
    outside = [abs(v) if v >= clip or v <= -clip else 0.0 for v in x]
    count = sum(v >= clip for v in x) + sum(v <= -clip for v in x)
    weights = binary.multiply(float(count), binary.subtract(1.0, share))
    if knobs["granularity"] == "tensor":
        weights = binary.add(weights, binary.multiply(share, float(len(x))))
    else:
        weights = binary.f32(weights + share * len(x))
    return binary.divide(binary.f32(folded(outside)), weights)


def close(last: float, clip: float) -> bool:
    """Whether a clip has settled: numpy.allclose in binary32."""
    if not math.isfinite(clip):
        return last == clip
    allowed = binary.add(binary.f32(1e-8), binary.multiply(binary.f32(1e-5), clip))
    return abs(binary.subtract(last, clip)) <= allowed


def mse(x: Sequence[float], bits: int) -> float:
    """The scale of a group: a multiple of the root mean square."""
    squares = [binary.multiply(v, v) for v in x]
    mean = binary.f32(folded(squares) / len(x))
    return binary.multiply(binary.f32({8: 0.05408, 4: 0.37755}[bits]), binary.square_root(mean))


def hadamard(x: Sequence[float]) -> list[float]:
    """A slice of a power of two of weights, rotated; the sums of butterflies in binary64."""
    size, left = len(x), list(x)
    near = 1
    while near < size:
        left = [
            left[i] + left[i + near] if i // near % 2 == 0 else left[i - near] - left[i]
            for i in range(size)
        ]
        near *= 2
    magnitude = binary.divide(1.0, binary.square_root(float(size)))
    return [binary.f32(v * magnitude) for v in left]
