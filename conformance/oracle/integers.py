"""Integer products and requantization in plain Python integers.

Written from spec/activations.md.
"""

from collections.abc import Callable, Mapping, Sequence

__all__ = ["REQUANTIZERS", "accumulators", "requantized"]

Matrix = Sequence[Sequence[int]]
INT32 = 1 << 31


def accumulators(a: Matrix, b: Matrix) -> list[int]:
    """The sums of products of every row of `a` with every row of `b`."""
    return [sum(x * y for x, y in zip(row, other, strict=True)) for row in a for other in b]


def rounded_half_away(value: int, exponent: int) -> int:
    """`value / 2**exponent`, ties away from zero."""
    magnitude = (abs(value) + ((1 << exponent) >> 1)) >> exponent
    return magnitude if value >= 0 else -magnitude


def double_rounding(x: int, multiplier: int, shift: int) -> int:
    """A doubling high product, ties up, then a shift to the right, ties away from zero."""
    product = (x << max(shift, 0)) * multiplier
    high = min((product + (1 << 30)) >> 31, INT32 - 1)
    return rounded_half_away(high, max(-shift, 0))


def single_rounding(x: int, multiplier: int, shift: int) -> int:
    """One rounding, ties up, saturated; a shift above 30 is the largest multiplier of 30."""
    if shift > 30:
        multiplier, shift = INT32 - 1, 30
    exact = (x * multiplier + (1 << (30 - shift))) >> (31 - shift)
    return max(-INT32, min(exact, INT32 - 1))


def ties_up(x: int, multiplier: int, shift: int) -> int:
    """Two roundings, ties up in both."""
    high = min(((x << max(shift, 0)) * multiplier + (1 << 30)) >> 31, INT32 - 1)
    right = max(-shift, 0)
    return (high + ((1 << right) >> 1)) >> right


REQUANTIZERS: Mapping[str, Callable[[int, int, int], int]] = {
    "double_rounding": double_rounding,
    "single_rounding": single_rounding,
    "ties_up": ties_up,
}


def requantized(x: int, rounding: str, by: tuple[int, int], limits: tuple[int, int, int]) -> int:
    """The code of an accumulator: zero point added after the product, then saturated."""
    zero_point, low, high = limits
    return max(low, min(REQUANTIZERS[rounding](x, *by) + zero_point, high))
