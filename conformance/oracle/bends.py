"""Elementwise functions over the reals, rounded once, and how far an engine's may lie from them.

The bound counts roundings (S-16 of `conformance/SPEC.md`): an engine's exponential, hyperbolic
tangent and error function may be off by 4 units in the last place, which is 8 roundings; every
other step rounds once. One rounding moves a number by at most one unit, and the expected number is
rounded too. Terms of second order are below half a unit in all of these.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from conformance.oracle.binary import f32

__all__ = ["BENDS", "rms_norm", "softmax", "ulps"]

DIGITS: Final = Context(prec=60)
LIBRARY: Final = 8
"""Roundings for which an engine's exponential, tangent or error function may count."""


def _exp(x: Fraction) -> Fraction:
    return Fraction(DIGITS.exp(_decimal(x)))


def _decimal(x: Fraction) -> Decimal:
    return DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))


def _root(x: Fraction) -> Fraction:
    return Fraction(DIGITS.sqrt(_decimal(x)))


PI: Final = Fraction(Decimal("3.14159265358979323846264338327950288419716939937510582097494"))


def _erf(x: Fraction) -> Fraction:
    """Taylor's series, whose terms fall below 2**-200; for numbers of up to 6."""
    found = term = x
    power = 0
    while abs(term) > Fraction(1, 1 << 200):
        power += 1
        term = Fraction(math.floor(-term * x * x / power * (1 << 300)), 1 << 300)
        found += term / (2 * power + 1)
    return found * 2 / _root(PI)


def _silu(x: Fraction) -> Fraction:
    return x / (1 + _exp(-x))


def _gelu(x: Fraction) -> Fraction:
    return x / 2 * (1 + _erf(x / _root(Fraction(2))))


def _gelu_tanh(x: Fraction) -> Fraction:
    inner = _root(2 / PI) * (x + Fraction("0.044715") * x**3)
    return x - x / (1 + _exp(2 * inner))


BENDS: Final[Mapping[str, Callable[[float], float]]] = {
    "silu": lambda x: f32(_silu(Fraction(x))),
    "gelu": lambda x: f32(_gelu(Fraction(x))),
    "gelu_tanh": lambda x: f32(_gelu_tanh(Fraction(x))),
}
"""From one binary32 number to another."""


def softmax(row: Sequence[float]) -> list[float]:
    """Exponentials over their sum."""
    top = max(row)
    raised = [_exp(Fraction(x) - Fraction(top)) for x in row]
    return [f32(one / sum(raised)) for one in raised]


def rms_norm(row: Sequence[float], weight: Sequence[float], epsilon: float) -> list[float]:
    """Numbers over the root of their mean square and epsilon, times a weight."""
    mean = sum(Fraction(x) ** 2 for x in row) / len(row) + Fraction(epsilon)
    root = _root(mean)
    return [f32(Fraction(x) * Fraction(w) / root) for x, w in zip(row, weight, strict=True)]


LEAST_SHARE: Final = Fraction(3, 10)
"""From -1 on, one plus the tangent or the error function in either GELU is more than this."""


def _after_a_sum(inner: int, slope: Fraction) -> int:
    """A bend whose inner function has rounded arguments, is added to 1, and multiplied.

    Its own error is relative to at most 0.7 where the sum is least; the argument's counts by the
    slope `|a f'(a)|`. The share's sum and the last product round once each.
    """
    apart = LIBRARY * Fraction(7, 10) + inner * slope
    return math.ceil(apart / LEAST_SHARE) + 2


def ulps(name: str, terms: int) -> int:
    """Units for a function over rows of so many terms, the expected number's rounding included."""
    roundings = {
        # exp, the sum, and a quotient; or exp, the sum, its reciprocal, and a product
        "silu": LIBRARY + 3,
        # the root of one half and a product inside, at a slope of at most 0.49
        "gelu": _after_a_sum(2, Fraction(49, 100)),
        # two products, two constants, a sum, and a product inside, at a slope of at most 0.45
        "gelu_tanh": _after_a_sum(7, Fraction(45, 100)),
        # differences are exact in the cases; exp above, exps and their sum below, a quotient
        "softmax": LIBRARY + (LIBRARY + terms - 1) + 2,
        # squares and sums, the mean, epsilon; half of all that; a root in two, quotient, weight
        "rms_norm": math.ceil(Fraction(terms + 4, 2)) + 4,
    }
    return roundings[name] + 1
