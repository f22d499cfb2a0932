"""The searches by which ggml chooses a scale: weighted least squares over a handful of trials.

All functions take groups as columns, `x[n, m]` with the n weights of group j in `x[:, j]`, so that
every step of C's loop over a group is one operation on contiguous rows. Sums run from the first
weight to the last and are rounded after every addition; products associate to the left. A trial
replaces the best so far only where it is strictly better, so the first of equals wins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.ggml.c_semantics import (
    NEAREST_END,
    first_extreme_of_rows,
    nearest,
    nearest_exact,
    ordered_sum,
)

__all__ = ["AffineSearch", "fit_affine", "fit_descending", "fit_positive", "fit_symmetric"]

F32 = NDArray[np.float32]

ZERO, ONE = np.float32(0), np.float32(1)

LEAST_EXTREME = np.float32(1e-15)
"""Groups whose largest magnitude is below this count as zero (GROUP_MAX_EPS)."""


@dataclass(frozen=True, slots=True)
class AffineSearch:
    """Scales `(first + step * k + top) / range` for k = 0..trials; `absolute` sums |e|, not e*e."""

    top: int
    first: float
    step: float
    trials: int
    absolute: bool = False

    def numerator(self, k: int) -> np.float32:
        """`first + step * k + top`, rounded after every operation."""
        step = np.float32(self.step) * np.float32(k)
        return (np.float32(self.first) + step) + np.float32(self.top)


def _extremes(x: F32) -> tuple[F32, F32]:
    """Least and largest weight, the first of equals, so that the sign of a zero is C's."""
    low, high = x[0].copy(), x[0].copy()
    for row in x[1:]:
        np.copyto(low, row, where=row < low)
        np.copyto(high, row, where=row > high)
    return low, high


def _affine_codes(
    x: F32, ends: tuple[F32, F32], low: F32, inverse: F32, top: int, out: F32
) -> None:
    """Codes `nearest((x - low) * inverse)` within 0..top, for weights between `ends`."""
    np.subtract(x, low, out=out)
    out *= inverse
    safe = all((np.abs((end - low) * inverse) < NEAREST_END).all() for end in ends)
    codes = nearest(out) if safe else nearest_exact(out)
    np.clip(codes, ZERO, np.float32(top), out=out)


def _error(x: F32, w: F32, codes: F32, scale: F32, low: F32, out: F32, *, absolute: bool) -> F32:
    np.multiply(codes, scale, out=out)
    out += low
    out -= x
    np.abs(out, out=out) if absolute else np.multiply(out, out, out=out)
    out *= w
    return ordered_sum(out)


def fit_affine(
    x: F32, w: F32, search: AffineSearch
) -> tuple[F32, F32, F32]:  # f32[n, m], f32[n, m] -> f32[m], f32[m], f32[n, m]; scale, -low, codes
    """Scale and minimum of least weighted error: `x ~ scale * code + low`, with low <= 0.

    Each trial rounds with one scale, then solves for scale and minimum; both the subtraction and
    the range of later trials use the best minimum so far. A constant group has scale 0.
    """
    ends = low, high = _extremes(x)
    total_w, total_x = ordered_sum(w), _sum_from_first(w * x)
    first_low = low = np.where(low > ZERO, ZERO, low)
    constant = high == low
    high = np.where(constant, low + ONE, high)
    inverse: F32 = np.float32(search.top) / (high - low)
    scale: F32 = ONE / inverse
    codes, spare, product = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    _affine_codes(x, ends, low, inverse, search.top, codes)
    best = _error(x, w, codes, scale, low, spare, absolute=search.absolute)
    chosen_low, chosen_inverse = low.copy(), inverse.copy()
    for k in range(search.trials + 1):
        inverse = np.divide(search.numerator(k), high - low)
        _affine_codes(x, ends, low, inverse, search.top, codes)
        np.multiply(w, codes, out=product)
        sum_l = ordered_sum(product)
        sum_l2 = ordered_sum(np.multiply(product, codes, out=spare))
        product *= x
        sum_xl = ordered_sum(product)
        determinant = total_w * sum_l2 - sum_l * sum_l
        new_scale = np.divide(total_w * sum_xl - total_x * sum_l, determinant)
        new_low = np.divide(sum_l2 * total_x - sum_l * sum_xl, determinant)
        above = new_low > ZERO
        new_low[above] = ZERO
        np.divide(sum_xl, sum_l2, out=new_scale, where=above)
        error = _error(x, w, codes, new_scale, new_low, spare, absolute=search.absolute)
        better = (determinant > ZERO) & (error < best)
        np.copyto(chosen_low, low, where=better)
        np.copyto(chosen_inverse, inverse, where=better)
        low = np.where(better, new_low, low)
        np.copyto(best, error, where=better)
        np.copyto(scale, new_scale, where=better)
    _affine_codes(x, ends, chosen_low, chosen_inverse, search.top, codes)
    codes[:, constant] = ZERO
    scale[constant] = ZERO
    return scale, -np.where(constant, first_low, low), codes


def _sum_from_first(rows: F32) -> F32:
    """As `ordered_sum`, but starting from the first row, which keeps a sum of -0.0."""
    total = ordered_sum(rows)
    negative = np.signbit(rows).all(axis=0) & (total == ZERO)
    total[negative] = np.float32(-0.0)
    return total


def _symmetric_codes(x: F32, inverse: F32, extreme: F32, top: int, out: F32) -> F32:
    np.multiply(x, inverse, out=out)
    safe = bool((np.abs(inverse * extreme) < NEAREST_END).all())
    codes = nearest(out) if safe else nearest_exact(out)
    return np.clip(codes, np.float32(-top), np.float32(top - 1), out=out)


def fit_symmetric(
    x: F32, w: F32, top: int
) -> tuple[F32, F32]:  # f32[n, m], f32[n, m] -> f32[m], f32[n, m]; codes are code + top
    """Scale of least weighted squared error for codes -top..top - 1, out of 19 trials.

    The first trial gives the weight of largest magnitude the code -top; the others move that code
    by tenths up to 0.9. A group below `LEAST_EXTREME` has scale 0 and stored codes 0.
    """
    extreme = first_extreme_of_rows(x)
    zero = np.abs(extreme) < LEAST_EXTREME
    extreme[zero] = ONE
    wx = w * x
    codes, spare = np.empty_like(x), np.empty_like(x)
    chosen = np.float32(-top) / extreme
    scale, best = np.zeros_like(extreme), np.zeros_like(extreme)
    for k in (0, *range(-9, 0), *range(1, 10)):
        inverse = chosen if k == 0 else _tenths(top, k) / extreme
        _symmetric_codes(x, inverse, extreme, top, codes)
        sum_lx = ordered_sum(np.multiply(wx, codes, out=spare))
        np.multiply(w, codes, out=spare)
        spare *= codes
        sum_l2 = ordered_sum(spare)
        if k == 0:
            np.divide(sum_lx, sum_l2, out=scale, where=sum_l2 != ZERO)
            best = scale * sum_lx
            chosen = inverse.copy()
            continue
        better = (sum_l2 > ZERO) & (sum_lx * sum_lx > best * sum_l2)
        np.divide(sum_lx, sum_l2, out=scale, where=better)
        np.copyto(best, scale * sum_lx, where=better)
        np.copyto(chosen, inverse, where=better)
    _symmetric_codes(x, chosen, extreme, top, codes)
    codes += np.float32(top)
    codes[:, zero] = ZERO
    scale[zero] = ZERO
    return scale, codes


def _tenths(top: int, k: int) -> np.float32:
    """`-(top + 0.1 * k)`, rounded after every operation."""
    return -(np.float32(top) + np.float32(0.1) * np.float32(k))


def fit_descending(x: F32, top: int) -> tuple[F32, F32]:  # f32[n, m] -> f32[m], f32[n, m]
    """Scale and stored codes by coordinate descent: each code in turn moves where that helps.

    Weights are `x * x`; at most five passes. Groups that a pass leaves as they are take no part in
    the next, which would not change them either.
    """
    extreme = first_extreme_of_rows(x)
    zero = np.abs(extreme) < LEAST_EXTREME
    extreme[zero] = ONE
    codes = _symmetric_codes(x, np.float32(-top) / extreme, extreme, top, np.empty_like(x))
    w = x * x
    wx = w * x
    sums: F32 = np.stack([ordered_sum(wx * codes), ordered_sum((w * codes) * codes)])
    moving = np.flatnonzero(_descend(x, w, wx, codes, sums, top))
    for _ in range(4):
        tried = [part.take(moving, axis=1) for part in (x, w, wx, codes, sums)]
        moved = _descend(tried[0], tried[1], tried[2], tried[3], tried[4], top)
        codes[:, moving], sums[:, moving] = tried[3:]
        moving = moving[moved]
    scale = np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > ZERO)
    codes += np.float32(top)
    codes[:, zero] = ZERO
    scale[zero] = ZERO
    return scale, codes


def _descend(
    x: F32, w: F32, wx: F32, codes: F32, sums: F32, top: int
) -> NDArray[np.bool_]:  # f32[n, m], f32[n, m], f32[n, m], f32[n, m], f32[2, m] -> bool[m]
    """One pass over all codes, in place: each moves where that helps. Which groups changed."""
    changed = np.zeros(x.shape[1], np.bool_)
    sum_lx, sum_l2 = sums
    rest_lx, rest_l2, moved, new_lx, new_l2 = np.empty((5, x.shape[1]), np.float32)
    better, also = np.empty((2, x.shape[1]), np.bool_)
    for i, code in enumerate(codes):
        np.subtract(sum_lx, np.multiply(wx[i], code, rest_lx), rest_lx)
        np.multiply(np.multiply(w[i], code, rest_l2), code, rest_l2)
        np.subtract(sum_l2, rest_l2, rest_l2)
        np.divide(np.multiply(x[i], rest_l2, moved), rest_lx, moved)
        np.clip(nearest_exact(moved, new_lx), np.float32(-top), np.float32(top - 1), moved)
        np.greater(rest_lx, ZERO, better)
        better &= np.not_equal(moved, code, also)
        if not better.any():
            continue
        np.add(rest_lx, np.multiply(wx[i], moved, new_lx), new_lx)
        np.multiply(np.multiply(w[i], moved, new_l2), moved, new_l2)
        np.add(rest_l2, new_l2, new_l2)
        better &= np.greater(new_l2, ZERO, also)
        gain = np.multiply(np.multiply(new_lx, new_lx, rest_lx), sum_l2, rest_lx)
        bar = np.multiply(np.multiply(sum_lx, sum_lx, rest_l2), new_l2, rest_l2)
        better &= np.greater(gain, bar, also)
        changed |= better
        for kept, found in ((code, moved), (sum_lx, new_lx), (sum_l2, new_l2)):
            np.copyto(kept, found, where=better)
    return changed


def _as_byte(codes: F32) -> F32:
    """Codes as C keeps them in a `uint8_t`: a negative one wraps."""
    return np.where(codes < ZERO, np.mod(codes, np.float32(256)), codes)


def fit_positive(x: F32, w: F32, top: int) -> tuple[F32, F32]:  # f32[n, m] -> f32[m], f32[n, m]
    """Scale and codes 0..top of numbers that are not negative: nine trials, then descent."""
    high = np.zeros_like(x[0])
    for row in x:
        high = np.where(high > row, high, row)
    zero = high < LEAST_EXTREME
    high[zero] = ONE
    limit = np.float32(top)
    inverse = limit / high
    best = _positive_error(x, w, _as_byte(nearest_exact(x * inverse)), ONE / inverse)
    for k in (*range(-4, 0), *range(1, 5)):
        trial = (np.float32(0.1) * np.float32(k) + limit) / high
        codes = np.minimum(nearest_exact(x * trial), limit)
        error = _positive_error(x, w, codes, ONE / trial)
        better = error < best
        np.copyto(best, error, where=better)
        np.copyto(inverse, trial, where=better)
    codes = np.minimum(nearest_exact(x * inverse), limit)
    sum_lx, sum_l2 = ordered_sum((w * x) * codes), ordered_sum((w * codes) * codes)
    codes = _as_byte(codes)
    for _ in range(5):
        for i in range(len(x)):
            rest_lx = sum_lx - (w[i] * x[i]) * codes[i]
            rest_l2 = sum_l2 - (w[i] * codes[i]) * codes[i]
            moved = np.minimum(nearest_exact((x[i] * rest_l2) / rest_lx), limit)
            new_lx = rest_lx + (w[i] * x[i]) * moved
            new_l2 = rest_l2 + (w[i] * moved) * moved
            better = (new_lx * new_lx) * sum_l2 > (sum_lx * sum_lx) * new_l2
            better &= (rest_lx > ZERO) & (rest_l2 > ZERO) & (moved != codes[i])
            for kept, found in ((codes[i], _as_byte(moved)), (sum_lx, new_lx), (sum_l2, new_l2)):
                np.copyto(kept, found, where=better)
    scale = np.divide(sum_lx, sum_l2, out=np.zeros_like(sum_lx), where=sum_l2 > ZERO)
    codes[:, zero] = ZERO
    scale[zero] = ZERO
    return scale, codes


def _positive_error(x: F32, w: F32, codes: F32, scale: F32) -> F32:
    difference = x - scale * codes
    return ordered_sum((w * difference) * difference)
