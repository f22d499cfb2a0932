"""torchao's affine integers and tinygemm groups in plain Python, one group of weights at a time.

Written from the clauses of conformance/registry/evidence/torchao.json.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from conformance.oracle import binary
from conformance.oracle import hqq as solver
from conformance.oracle.streams import low_bits_first

__all__ = [
    "afpwx",
    "afpwx_hqq",
    "afpwx_value",
    "hqq",
    "hqq_value",
    "integers",
    "packed",
    "scale_only",
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
    found, form = [], FORMS[storage]
    for scale, zero, codes in solved(groups, bits, iters):
        offset = binary.multiply(binary.subtract(float(2 ** (bits - 1)), zero), scale)
        found.append((binary.encode(scale, form), binary.encode(offset, form), codes))
    return found


def solved(
    groups: Sequence[Sequence[float]], bits: int, iters: int
) -> list[tuple[float, float, list[int]]]:
    """Scale, zero point and codes of every group of a tensor, before any is rounded."""
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
    found = []
    for x, (inverse, _), zero in zip(groups, starts, zeros, strict=True):
        codes = [int(solver.code_of(v, inverse, zero, largest)) for v in x]
        found.append((binary.divide(1.0, inverse), zero, codes))
    return found


def hqq_value(scale: int, offset: int, code: int, bits: int, storage: str) -> float:
    """`scale * (code - 2**(bits - 1)) + offset`, both operators rounded."""
    form = FORMS[storage]
    product = binary.multiply(binary.decode(scale, form), float(code - 2 ** (bits - 1)))
    return binary.add(product, binary.decode(offset, form))


def afpwx(x: Sequence[float], bits: int, knobs: Knobs) -> tuple[int, int, list[int]]:
    """The stored bits of the scale and of the offset, and codes 0 to 2**bits - 1."""
    form, largest = FORMS[str(knobs["scale"])], float(2**bits - 1)
    x = [narrowed(v, form) for v in x]
    low, high = min(x), max(x)
    extent = narrowed(binary.subtract(high, low), form)
    scale = narrowed(binary.divide(extent, largest), form)
    zero = binary.subtract(0.0, whole(narrowed(binary.divide(low, scale), form)))
    inverse = narrowed(binary.divide(1.0, scale), form)
    codes = []
    for v in x:
        product = narrowed(binary.multiply(v, inverse), form)
        code = whole(narrowed(binary.add(product, zero), form))
        codes.append(limited(code, 0, int(largest)))
    offset = binary.multiply(-zero, scale)
    if knobs["mode"] == "fixed" and scale == 0:
        offset = binary.add(low, 0.0)
    return stored(scale, form), stored(offset, form), codes


def stored(parameter: float, form: binary.Format) -> int:
    """The bits of a parameter; a NaN is stored without a sign."""
    return binary.encode(math.nan if math.isnan(parameter) else parameter, form)


def afpwx_hqq(
    groups: Sequence[Sequence[float]], bits: int, storage: str
) -> list[tuple[int, int, list[int]]]:
    """The stored bits of scale and offset, and the codes, of every group of a tensor."""
    found, form = [], FORMS[storage]
    groups = [[narrowed(v, form) for v in x] for x in groups]
    for exact, zero, codes in solved(groups, bits, 20):
        scale = narrowed(exact, form)
        offset = binary.multiply(-narrowed(zero, form), scale)
        found.append((binary.encode(scale, form), binary.encode(offset, form), codes))
    return found


def afpwx_value(scale: int, offset: int, code: int, knobs: Knobs) -> float:
    """`code * scale + offset`, the product and the sum each rounded once."""
    form = FORMS[str(knobs["scale"])]
    product = binary.multiply(float(code), binary.decode(scale, form))
    return binary.add(product, binary.decode(offset, form))


def scale_only(
    groups: Sequence[Sequence[float]], bits: int, iters: int, storage: str
) -> list[tuple[int, int, list[int]]]:
    """The stored bits of the scale, 0, and the codes, of every group of a tensor."""
    least, half = 2.0**-23, float(2 ** (bits - 1))
    scales = [max(binary.divide(max(map(abs, x)), half), least) for x in groups]
    for _ in range(iters):
        before, scales = scales, [fitted(x, s, bits) for x, s in zip(groups, scales, strict=True)]
        steps = [
            binary.divide(abs(binary.subtract(now, old)), max(old, least))
            for now, old in zip(scales, before, strict=True)
        ]
        if not any(math.isnan(step) for step in steps) and max(steps) < binary.f32(1e-5):
            break
    form = FORMS[storage]
    return [
        (binary.encode(scale, form), 0, divided(x, scale, bits))
        for x, scale in zip(groups, scales, strict=True)
    ]


def divided(x: Sequence[float], scale: float, bits: int) -> list[int]:
    """The codes of the quotients by a scale."""
    most = 2 ** (bits - 1)
    return [limited(whole(binary.divide(v, scale)), -most, most - 1) for v in x]


def fitted(x: Sequence[float], scale: float, bits: int) -> float:
    """The sum of weights times codes over the sum of squared codes, at least 2**-23."""
    codes = divided(x, scale, bits)
    squares = sum(code * code for code in codes)
    if not squares:
        return max(scale, 2.0**-23)
    products = [binary.multiply(v, float(code)) for v, code in zip(x, codes, strict=True)]
    infinite = any(math.isinf(product) for product in products)
    total = math.inf if infinite else binary.f32(sum(map(Fraction, products)))
    return max(binary.divide(total, binary.f32(squares)), 2.0**-23)
