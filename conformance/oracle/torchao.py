"""torchao's affine integers and tinygemm groups in plain Python, one group of weights at a time.

Written from the clauses of conformance/registry/evidence/torchao.json.
"""

import math
from collections.abc import Mapping, Sequence

from conformance.oracle import binary
from conformance.oracle import hqq as solver
from conformance.oracle.streams import low_bits_first

__all__ = [
    "hqq",
    "hqq_value",
    "integers",
    "packed",
    "tinygemm",
    "tinygemm_packed",
    "tinygemm_value",
    "value",
]

Knobs = Mapping[str, str | int]

FORMS = {"f32": binary.FLOAT32, "f16": binary.FLOAT16, "bf16": binary.BFLOAT16}
LEAST = {"tiny": 2.0**-126, "eps": 2.0**-23}


def integers(x: Sequence[float], bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale, the zero point (0 where there is none) and the codes."""
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low, high = min(0.0, *x), max(0.0, *x)
    scale = raw_scale(low, high, bits, str(knobs["mapping"]))
    least = LEAST[str(knobs["eps"])]
    scale = max(scale, least)
    zero = 0
    if knobs["mapping"] == "asym":
        zero = limited(qmin - whole(binary.divide(low, scale)), qmin, qmax)
    form = FORMS[str(knobs["scale"])]
    stored = binary.encode(scale, form)
    inverse = binary.divide(1.0, binary.decode(stored, form))
    codes = [limited(whole(binary.multiply(v, inverse)) + zero, qmin, qmax) for v in x]
    return stored, zero, codes


def raw_scale(low: float, high: float, bits: int, mapping: str) -> float:
    """The scale before its floor. At one bit qmax is 0, and `no_clip` divides by it."""
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    steps = float(qmax - qmin)
    if mapping == "asym":
        return binary.divide(binary.subtract(high, low), steps)
    if mapping == "sym":
        return binary.divide(max(-low, high), steps / 2)
    below, above = binary.divide(low, float(qmin)), binary.divide(high, float(qmax))
    return max(above, below)


def whole(real: float) -> float:
    """The nearest integer, ties to even; infinities and NaN as they are."""
    return float(binary.half_even(real)) if math.isfinite(real) else real


def limited(code: float, lowest: int, highest: int) -> int:
    """The code in `lowest..highest`; NaN is code 0."""
    return 0 if math.isnan(code) else int(max(lowest, min(code, highest)))


def packed(codes: Sequence[int], bits: int, _knobs: Knobs) -> bytes:
    """The bytes of a row of codes; codes of one bit, -1 and 0, are stored plus 1."""
    return low_bits_first([code + 1 for code in codes] if bits == 1 else codes, bits)


def value(scale: int, zero: int, code: int, knobs: Knobs) -> float:
    """`scale * (code - zero_point)`, rounded once."""
    return binary.multiply(binary.decode(scale, FORMS[str(knobs["scale"])]), float(code - zero))


def narrowed(real: float, form: binary.Format) -> float:
    """A number of binary32 rounded to a form."""
    return binary.decode(binary.encode(real, form), form)


def tinygemm(x: Sequence[float], _bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale and of the offset, and codes 0 to 15.

    `by_weights` and `by_parameters` are the dtypes in which an operation's result is kept.
    """
    by_weights, by_parameters = FORMS[str(knobs["weights"])], FORMS[str(knobs["scale"])]
    both = by_weights if knobs["weights"] == knobs["scale"] else binary.FLOAT32
    x = [narrowed(v, by_weights) for v in x]
    low, high = min(x), max(x)
    extent = narrowed(binary.subtract(high, low), by_weights)
    scale = narrowed(binary.divide(extent, 15.0), by_weights)
    scale = max(scale, narrowed(1e-6, by_weights))
    middle = narrowed(binary.multiply(scale, 8.0), by_weights)
    offset = narrowed(narrowed(binary.add(low, middle), by_weights), by_parameters)
    scale = narrowed(scale, by_parameters)
    middle = narrowed(binary.multiply(scale, 8.0), by_parameters)
    least = narrowed(binary.subtract(offset, middle), by_parameters)
    codes = []
    for v in x:
        above = narrowed(binary.subtract(v, least), both)
        codes.append(limited(whole(narrowed(binary.divide(above, scale), both)), 0, 15))
    return binary.encode(scale, by_parameters), binary.encode(offset, by_parameters), codes


def tinygemm_packed(codes: Sequence[int], bits: int, _knobs: Knobs) -> bytes:
    """The bytes of a row of codes."""
    return low_bits_first(codes, bits)


def tinygemm_value(scale: int, offset: int, code: int, knobs: Knobs) -> float:
    """`scale * (code - 8) + offset`, the product and the sum each rounded once."""
    form = FORMS[str(knobs["scale"])]
    product = binary.multiply(binary.decode(scale, form), float(code - 8))
    return binary.add(product, binary.decode(offset, form))


def hqq(
    groups: Sequence[Sequence[float]], bits: int, iters: int, storage: str
) -> list[tuple[int, int, list[int]]]:
    """The stored bits of scale and offset, and the codes, of every group of a tensor."""
    largest, starts = float(2**bits - 1), []
    for x in groups:
        extent = binary.subtract(max(x), min(x))
        product = binary.multiply(binary.divide(1.0, extent), largest) if extent else math.inf
        inverse = min(product, 20000.0)
        zero = binary.multiply(-min(x), inverse)
        starts.append((inverse, float(binary.half_even(zero)) if bits == 4 else zero))
    zeros = solver.solve(
        groups, starts, largest=largest, iters=iters, beta=10.0, lp=0.7, kappa=1.01, first=1e4
    )
    found, form = [], FORMS[storage]
    for x, (inverse, _), zero in zip(groups, starts, zeros, strict=True):
        scale = binary.divide(1.0, inverse)
        offset = binary.multiply(binary.subtract(float(2 ** (bits - 1)), zero), scale)
        codes = [int(solver.code_of(v, inverse, zero, largest)) for v in x]
        found.append((binary.encode(scale, form), binary.encode(offset, form), codes))
    return found


def hqq_value(scale: int, offset: int, code: int, bits: int, storage: str) -> float:
    """`scale * (code - 2**(bits - 1)) + offset`, both operators rounded."""
    form = FORMS[storage]
    product = binary.multiply(binary.decode(scale, form), float(code - 2 ** (bits - 1)))
    return binary.add(product, binary.decode(offset, form))
