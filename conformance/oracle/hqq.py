"""HQQ's groups in plain Python, every operation rounded once to binary32.

Written from the clauses of the `hqq/` ledger.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import gmpy2

from conformance.oracle import binary

__all__ = ["code_of", "decode", "encode", "inverse_scale", "package_place", "solve"]

FORMS = {"f32": binary.FLOAT32, "f16": binary.FLOAT16}


def encode(
    x: Sequence[float], bits: int, rounding: str, parameters: str
) -> tuple[int, int, list[int]]:
    """The stored bits of scale and zero, and the codes."""
    largest, inverse = 2**bits - 1, inverse_scale(x, bits)
    zero = binary.multiply(-min(x), inverse)
    if rounding == "rounded":
        zero = math.copysign(binary.half_even(zero), zero)
    codes = []
    for value in x:
        exact = binary.half_even(binary.add(binary.multiply(value, inverse), zero))
        codes.append(max(0, min(largest, exact)))
    form = FORMS[parameters]
    return binary.encode(binary.divide(1.0, inverse), form), binary.encode(zero, form), codes


def inverse_scale(x: Sequence[float], bits: int) -> float:
    """The largest code over the extent of a group, 1 for small extents, at most 20000."""
    extent = binary.subtract(max(x), min(x))
    inverse = 1.0
    if extent > binary.f32(Fraction(1, 10**4)):
        inverse = binary.multiply(binary.divide(1.0, extent), float(2**bits - 1))
    return min(inverse, 20000.0)


def decode(scale: int, zero: int, code: int, parameters: str) -> float:
    """`(code - zero) * scale`."""
    form = FORMS[parameters]
    difference = binary.subtract(float(code), binary.decode(zero, form))
    return binary.multiply(difference, binary.decode(scale, form))


def solve(
    groups: Sequence[Sequence[float]], starts: Sequence[tuple[float, float]], **knobs: float
) -> list[float]:
    """The zero point of each group after the solver's rounds; `starts` are (inverse, zero).

    `knobs`: `largest` code, `iters`, `beta`, `lp`, `kappa`, `first`, the error to be below of.
    """
    zeros = [zero for _, zero in starts]
    best, beta = knobs["first"], knobs["beta"]
    for _ in range(int(knobs["iters"])):
        missed: list[float] = []
        for k, (x, (inverse, _)) in enumerate(zip(groups, starts, strict=True)):
            exact = []
            for value in x:
                code = code_of(value, inverse, zeros[k], knobs["largest"])
                real = binary.divide(binary.subtract(code, zeros[k]), inverse)
                rest = binary.subtract(value, real)
                missed.append(abs(rest))
                kept = binary.subtract(value, shrunk(rest, beta, knobs["lp"]))
                exact.append(binary.subtract(code, binary.multiply(kept, inverse)))
            zeros[k] = binary.divide(binary.f32(sum(map(Fraction, exact))), float(len(x)))
        error = binary.divide(binary.f32(sum(map(Fraction, missed))), float(len(missed)))
        if not error < best:
            break
        best, beta = error, beta * knobs["kappa"]
    return zeros


def code_of(value: float, inverse: float, zero: float, largest: float) -> float:
    """The code under an inverse scale and a zero point."""
    exact = binary.half_even(binary.add(binary.multiply(value, inverse), zero))
    return max(0.0, min(largest, float(exact)))


def shrunk(rest: float, beta: float, norm: float) -> float:
    """The magnitude less a multiple of its power norm - 1, not below 0, with the sign."""
    if rest == 0:
        return rest
    strength = binary.f32(Fraction(1.0 / beta))
    taken = strength
    if norm != 1:
        exponent = binary.f32(Fraction(norm - 1))
        with gmpy2.context(precision=200):
            exact = gmpy2.mpfr(abs(rest)) ** gmpy2.mpfr(exponent)
            nearest = binary.f32(Fraction(*map(int, exact.as_integer_ratio())))
        taken = binary.multiply(strength, nearest)
    return math.copysign(max(0.0, binary.subtract(abs(rest), taken)), rest)


def package_place(row: int, rows: int, bits: int) -> tuple[int, int]:
    """Where the package puts the codes of a row of the matrix: the packed row, and the shift."""
    parts = 10 if bits == 3 else 8 // bits
    step = -(-rows // parts)
    part, packed = divmod(row, step)
    return packed, bits * (parts - 1 - part)
