"""ggml's searching encoders, one weight at a time, for ordinary finite weights.

Written for reading against the clauses: every operation is rounded once to binary32, sums run from
the first weight to the last. Weights must be such that no sum overflows.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from conformance.oracle.binary import (
    FLOAT16,
    add,
    divide,
    f32,
    half_even,
    multiply,
    square_root,
    subtract,
)
from conformance.oracle.binary import decode as decode_float
from conformance.oracle.ggml_closed import IQ4_VALUES, extreme_of, half_bits, inverse_of

__all__ = ["ENCODERS"]

Block = Sequence[float]
Fields = Mapping[str, Sequence[int]]

LEAST = f32(1e-15)
TENTH = f32(0.1)


def total(terms: Sequence[float]) -> float:
    """The sum from first to last, rounded after every addition."""
    result = 0.0
    for term in terms:
        result = add(result, term)
    return result


def nearest(value: float, low: int, high: int) -> int:
    """The nearest integer, ties to even, within `low..high`."""
    return min(max(half_even(value), low), high)


class Search(NamedTuple):
    """Numbers of one affine search."""

    top: int
    first: float
    step: float
    trials: int
    absolute: bool = False


def error_of(
    block: Block, weights: Block, codes: Sequence[int], scale: float, low: float, search: Search
) -> float:
    terms = []
    for x, w, q in zip(block, weights, codes, strict=True):
        e = subtract(add(multiply(scale, float(q)), low), x)
        terms.append(multiply(w, abs(e) if search.absolute else multiply(e, e)))
    return total(terms)


def fit_affine(block: Block, weights: Block, search: Search) -> tuple[float, float, list[int]]:
    """Scale, minimum and codes; the minimum is at most 0."""
    low, high = min(*block, 0.0), max(block)
    sum_w = total(weights)
    sum_x = total([multiply(w, x) for w, x in zip(weights, block, strict=True)])
    if high == low:
        return 0.0, low, [0] * len(block)
    scale = divide(1.0, divide(float(search.top), subtract(high, low)))
    codes = affine_codes(block, low, divide(float(search.top), subtract(high, low)), search.top)
    best = error_of(block, weights, codes, scale, low, search)
    for k in range(search.trials + 1):
        head = add(add(f32(search.first), multiply(f32(search.step), float(k))), float(search.top))
        trial = affine_codes(block, low, divide(head, subtract(high, low)), search.top)
        solved = solve(block, weights, trial, sum_w, sum_x)
        if solved is None:
            continue
        error = error_of(block, weights, trial, *solved, search)
        if error < best:
            best, codes, (scale, low) = error, trial, solved
    return scale, low, codes


def affine_codes(block: Block, low: float, inverse: float, top: int) -> list[int]:
    return [nearest(multiply(inverse, subtract(x, low)), 0, top) for x in block]


def solve(
    block: Block, weights: Block, codes: Sequence[int], sum_w: float, sum_x: float
) -> tuple[float, float] | None:
    """Scale and minimum of least weighted squared error for given codes."""
    wl = [multiply(w, float(q)) for w, q in zip(weights, codes, strict=True)]
    sum_l = total(wl)
    sum_l2 = total([multiply(a, float(q)) for a, q in zip(wl, codes, strict=True)])
    sum_xl = total([multiply(a, x) for a, x in zip(wl, block, strict=True)])
    determinant = subtract(multiply(sum_w, sum_l2), multiply(sum_l, sum_l))
    if not determinant > 0:
        return None
    scale = divide(subtract(multiply(sum_w, sum_xl), multiply(sum_x, sum_l)), determinant)
    low = divide(subtract(multiply(sum_l2, sum_x), multiply(sum_l, sum_xl)), determinant)
    return (divide(sum_xl, sum_l2), 0.0) if low > 0 else (scale, low)


def rounded_units(numbers: Block, top: int) -> tuple[int, list[int]]:
    """The float16 unit of a super-block and its numbers counted in it."""
    largest = max(0.0, *numbers)
    inverse = divide(float(top), largest) if largest > 0 else 0.0
    counts = [nearest(multiply(inverse, v), 0, top) for v in numbers]
    return half_bits(divide(largest, float(top))), counts


def own_weights(part: Block) -> list[float]:
    squares = total([multiply(x, x) for x in part])
    mean = square_root(divide(squares, float(len(part))))
    return [add(mean, abs(x)) for x in part]


def k_affine(block: Block, size: int, top_scale: int, search: Search) -> Fields:
    parts = [block[i : i + size] for i in range(0, 256, size)]
    fits = []
    for part in parts:
        weights = [abs(x) for x in part] if search.absolute else own_weights(part)
        fits.append(fit_affine(part, weights, search))
    d, scales = rounded_units([fit[0] for fit in fits], top_scale)
    dmin, minima = rounded_units([-fit[1] for fit in fits], top_scale)
    codes: list[int] = []
    for part, fit, sc, mn in zip(parts, fits, scales, minima, strict=True):
        scale = multiply(decode_float(d, FLOAT16), float(sc))
        low = multiply(decode_float(dmin, FLOAT16), float(mn))
        again = (nearest(divide(add(x, low), scale), 0, search.top) for x in part)
        codes += again if scale else fit[2]
    return {"d": [d], "dmin": [dmin], "sc": scales, "mn": minima, "q": codes}


def symmetric_sums(block: Block, weights: Block, codes: Sequence[float]) -> tuple[float, float]:
    """Weighted products of codes with weights of the block, and with themselves."""
    products, squares = [], []
    for x, w, q in zip(block, weights, codes, strict=True):
        products.append(multiply(multiply(w, x), q))
        squares.append(multiply(multiply(w, q), q))
    return total(products), total(squares)


def fit_symmetric(block: Block, weights: Block, top: int) -> tuple[float, list[int]]:
    """Scale and codes -top..top - 1, the first of the best out of 19."""
    extreme = extreme_of(block)
    if abs(extreme) < LEAST:
        return 0.0, [-top] * len(block)
    scale, best, codes = 0.0, 0.0, [0] * len(block)
    for k in (0, *range(-9, 0), *range(1, 10)):
        inverse = divide(-add(float(top), multiply(TENTH, float(k))), extreme)
        trial = [nearest(multiply(inverse, x), -top, top - 1) for x in block]
        products, squares = symmetric_sums(block, weights, [float(q) for q in trial])
        better = multiply(products, products) > multiply(best, squares)
        if squares > 0 and (k == 0 or better):
            scale, codes = divide(products, squares), trial
            best = multiply(scale, products)
        elif k == 0:
            codes = trial
    return scale, codes


def q6_k(block: Block) -> Fields:
    parts = [block[i : i + 16] for i in range(0, 256, 16)]
    fits = [fit_symmetric(part, [multiply(x, x) for x in part], 32) for part in parts]
    extreme = extreme_of([fit[0] for fit in fits])
    if abs(extreme) < LEAST:
        return {"d": [0], "sc": [0] * 16, "q": [0] * 256}
    inverse = divide(-128.0, extreme)
    scales = [min(half_even(multiply(inverse, fit[0])), 127) for fit in fits]
    d = half_bits(divide(1.0, inverse))
    return {"d": [d], "sc": scales, "q": again(parts, fits, d, scales, 32)}


def again(
    parts: Sequence[Block],
    fits: Sequence[tuple[float, list[int]]],
    d: int,
    scales: Sequence[int],
    top: int,
) -> list[int]:
    """Stored codes for the rounded scales; those of the fit where a scale is 0."""
    codes: list[int] = []
    for part, fit, count in zip(parts, fits, scales, strict=True):
        scale = multiply(decode_float(d, FLOAT16), float(count))
        chosen = [nearest(divide(x, scale), -top, top - 1) for x in part] if scale else fit[1]
        codes += [q + top for q in chosen]
    return codes


def fit_descending(block: Block) -> tuple[float, list[int]]:
    """Scale and codes -4..3 by coordinate descent, weights x * x."""
    extreme = extreme_of(block)
    if abs(extreme) < LEAST:
        return 0.0, [-4] * len(block)
    inverse = divide(-4.0, extreme)
    codes = [nearest(multiply(inverse, x), -4, 3) for x in block]
    weights = [multiply(x, x) for x in block]
    products, squares = symmetric_sums(block, weights, [float(q) for q in codes])
    for _ in range(5):
        for i, (x, w) in enumerate(zip(block, weights, strict=True)):
            wx, q = multiply(w, x), float(codes[i])
            rest = subtract(products, multiply(wx, q))
            if not rest > 0:
                continue
            rest_squares = subtract(squares, multiply(multiply(w, q), q))
            moved = float(nearest(divide(multiply(x, rest_squares), rest), -4, 3))
            if moved == q:
                continue
            new = add(rest, multiply(wx, moved))
            new_squares = add(rest_squares, multiply(multiply(w, moved), moved))
            gain = multiply(multiply(new, new), squares)
            if new_squares > 0 and gain > multiply(multiply(products, products), new_squares):
                codes[i], products, squares = int(moved), new, new_squares
    return (divide(products, squares) if squares > 0 else 0.0), codes


def q3_k(block: Block) -> Fields:
    parts = [block[i : i + 16] for i in range(0, 256, 16)]
    fits = [fit_descending(part) for part in parts]
    extreme = extreme_of([fit[0] for fit in fits])
    if not extreme:
        return {"d": [0], "sc": [0] * 16, "q": again(parts, fits, 0, [-32] * 16, 4)}
    inverse = divide(-32.0, extreme)
    scales = [nearest(multiply(inverse, fit[0]), -32, 31) for fit in fits]
    d = half_bits(divide(1.0, inverse))
    return {"d": [d], "sc": [s + 32 for s in scales], "q": again(parts, fits, d, scales, 4)}


def table_code(quotient: float) -> int:
    """The code of the nearest number of the table, the upper of two equally near."""
    middles = [(a + b) / 2 for a, b in pairwise(IQ4_VALUES)]
    return sum(quotient >= middle for middle in middles)


def fit_table(block: Block) -> float:
    """Scale of least weighted squared error out of 16 trials, weights x * x."""
    extreme = extreme_of(block)
    if abs(extreme) < LEAST:
        return 0.0
    weights = [multiply(x, x) for x in block]
    first = divide(1.0, divide(-extreme, -127.0))
    scale, best = 0.0, 0.0
    for k in (None, *range(-7, 8)):
        inverse = first if k is None else divide(float(k - 127), extreme)
        values = [float(IQ4_VALUES[table_code(multiply(inverse, x))]) for x in block]
        products = total(
            [multiply(multiply(w, v), x) for x, w, v in zip(block, weights, values, strict=True)]
        )
        squares = total([multiply(multiply(w, v), v) for w, v in zip(weights, values, strict=True)])
        better = multiply(products, products) > multiply(best, squares)
        if squares > 0 and (k is None or better):
            scale = divide(products, squares)
            best = multiply(scale, products)
    return scale


def iq4_nl(block: Block) -> Fields:
    scale = fit_table(block)
    inverse = inverse_of(scale)
    return {"d": [half_bits(scale)], "q": [table_code(multiply(inverse, x)) for x in block]}


def iq4_xs(block: Block) -> Fields:
    parts = [block[i : i + 32] for i in range(0, 256, 32)]
    fits = [fit_table(part) for part in parts]
    unit = divide(-extreme_of(fits), 32.0)
    counts = [nearest(multiply(inverse_of(unit), scale), -32, 31) for scale in fits]
    codes = []
    for part, count in zip(parts, counts, strict=True):
        inverse = inverse_of(multiply(unit, float(count)))
        codes += [table_code(multiply(inverse, x)) for x in part]
    return {"d": [half_bits(unit)], "sc": [c + 32 for c in counts], "q": codes}


ENCODERS: Mapping[str, Callable[[Block], Fields]] = {
    "q2_k": partial(
        k_affine, size=16, top_scale=15, search=Search(3, -0.5, 0.1, 15, absolute=True)
    ),
    "q3_k": q3_k,
    "q4_k": partial(k_affine, size=32, top_scale=63, search=Search(15, -1.0, 0.1, 20)),
    "q5_k": partial(k_affine, size=32, top_scale=63, search=Search(31, -0.5, 0.1, 15)),
    "q6_k": q6_k,
    "iq4_nl": iq4_nl,
    "iq4_xs": iq4_xs,
}
