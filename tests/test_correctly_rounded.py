"""Correctly rounded arithmetic against MPFR, against exact fractions, and at its hardest places."""

from fractions import Fraction

import gmpy2
import numpy as np
import pytest

from refquant.arithmetic import correctly_rounded
from refquant.arithmetic.correctly_rounded import angles, elementary, nearest, sums

FUNCTIONS = ("exp", "log", "tanh", "erf", "sin", "cos", "reciprocal_sqrt")


def of_mpfr(name, x, *more):
    """MPFR's result for every element, as IEEE 754 binary32 with its subnormals."""
    function = {"reciprocal_sqrt": gmpy2.rec_sqrt, "power": pow}.get(name) or getattr(gmpy2, name)
    with gmpy2.context(gmpy2.ieee(32)):
        rows = zip(x.tolist(), *(other.tolist() for other in more), strict=True)
        found = [float(function(*map(gmpy2.mpfr, row))) for row in rows]
    return np.array(found, np.float32)


def assert_same(found, wanted, x):
    """Equal bits; a NaN where a NaN is due."""
    different = found.view(np.uint32) != wanted.view(np.uint32)
    different &= ~(np.isnan(found) & np.isnan(wanted))
    first = np.flatnonzero(different)[:3]
    assert not different.any(), (x[first], found[first], wanted[first])


def arguments(seed):
    """Bit patterns of every kind, ordinary numbers, and the edges of the functions' ranges."""
    chance = np.random.default_rng(seed)
    patterns = chance.integers(0, 1 << 32, 3000, dtype=np.uint64).astype(np.uint32)
    ordinary = chance.normal(size=3000).astype(np.float32) * np.float32(5)
    edges = np.float32([0, np.inf, np.nan, 1, 1e-45, 1e-38, 88.72284, 88.722839, 103.97, 103.28])
    return np.concatenate([patterns.view(np.float32), ordinary, edges, -edges[1:]])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_equals_mpfr(name):
    x = arguments(1)
    assert_same(getattr(correctly_rounded, name)(x), of_mpfr(name, x), x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_mpmath_decides_equals_mpfr(name, monkeypatch):
    """With a large bound of the error, about every second result takes the slow way."""
    monkeypatch.setattr(elementary, "ERROR", 2.0**-26)
    x = arguments(2)[2900:3100]
    assert_same(getattr(correctly_rounded, name)(x), of_mpfr(name, x), x)


def test_signs_of_zero():
    zeros = np.float32([0.0, -0.0])
    for name in ("sin", "tanh", "erf"):
        assert np.signbit(getattr(correctly_rounded, name)(zeros)).tolist() == [False, True]
    with np.errstate(divide="ignore"):
        assert correctly_rounded.reciprocal_sqrt(zeros).tolist() == [np.inf, -np.inf]


def test_power_equals_mpfr_where_results_are_exact_or_half_way():
    chance = np.random.default_rng(3)
    base = chance.integers(1, 1 << 13, 4000).astype(np.float32)
    base[:2000] *= base[:2000] % 8 + 1
    exponent = (chance.integers(-12, 13, 4000) / 4).astype(np.float32)
    exponent[3000:] = chance.normal(size=1000)
    base[3900:] **= 2  # roots of squares
    assert_same(correctly_rounded.power(base, exponent), of_mpfr("power", base, exponent), base)


def test_a_power_half_way_between_two_numbers_goes_to_the_even_one():
    """4097 squared needs 25 bits: it lies half-way, and no number of bits shows which side."""
    x = np.float32([4097, 4099, 4095])
    wanted = [float(nearest.nearest_binary32(Fraction(int(v)) ** 2)) for v in x]
    assert correctly_rounded.power(x, np.float32([2, 2, 2])).tolist() == wanted
    assert wanted[0] == 16785408.0


def exact_product(left, right):
    total = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(left, right, strict=True))
    return float(nearest.nearest_binary32(Fraction(total)))


def hard_rows(kind, chance):
    """Rows whose sums cancel, tie, or leave a remainder far below the last bit."""
    x = chance.normal(size=(6, 40)).astype(np.float32)
    if kind == "cancel":
        x[:, 20:] = -x[:, :20]
        x[:, 7] += np.float32(1e-7)
    elif kind == "tie":
        x[:] = 0
        x[:, 0], x[:, 1] = 1, np.float32(2.0**-24)
        x[::2, 2] = np.float32(2.0**-100)
        x[1::3, 2] = -np.float32(2.0**-100)
    elif kind == "scales":
        x *= np.float32(2.0) ** chance.integers(-60, 60, x.shape).astype(np.float32)
    elif kind == "subnormal":
        x *= np.float32(2.0**-75)
    return x


@pytest.mark.parametrize("kind", ["plain", "cancel", "tie", "scales", "subnormal"])
def test_matmul_equals_exact_fractions(kind):
    chance = np.random.default_rng(4)
    x = hard_rows(kind, chance)
    w = np.ones((5, 40), np.float32) if kind in ("cancel", "tie") else hard_rows(kind, chance)
    wanted = [[exact_product(row, other) for other in w] for row in x]
    found = correctly_rounded.matmul(x, w)
    assert found.tolist() == wanted
    assert not np.signbit(found[found == 0]).any()


def test_matmul_decides_what_its_bound_leaves_open(monkeypatch):
    chance = np.random.default_rng(5)
    x, w = (chance.normal(size=(9, 70)).astype(np.float32) for _ in range(2))
    quick = correctly_rounded.matmul(x, w)
    monkeypatch.setattr(sums, "UNIT", 1.0)
    slow = correctly_rounded.matmul(x, w)
    assert quick.tobytes() == slow.tobytes()
    assert quick.tobytes() != (x @ w.T).tobytes()


def test_matmul_of_batches_and_tiles(monkeypatch):
    chance = np.random.default_rng(6)
    x = chance.normal(size=(3, 4, 16)).astype(np.float32)
    w = chance.normal(size=(3, 50, 16)).astype(np.float32)
    whole = correctly_rounded.matmul(x, w)
    monkeypatch.setattr(sums, "TILE", 16 * 3 * 7)
    assert correctly_rounded.matmul(x, w).tobytes() == whole.tobytes()
    assert whole[2].tobytes() == correctly_rounded.matmul(x[2], w[2]).tobytes()


def test_infinities_and_nan_go_where_ieee_754_puts_them():
    x = np.float32([[np.inf, 1], [np.nan, 1], [3e38, 3e38]])
    w = np.float32([[1, 1], [0, 1], [-1, -1]])
    with np.errstate(invalid="ignore"):
        found = correctly_rounded.matmul(x, w)
    assert found[:, 0].tolist()[::2] == [np.inf, np.inf]
    assert np.isnan(found[0, 1])
    assert np.isnan(found[1]).all()
    assert found[[0, 2], 2].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("kind", ["plain", "cancel", "tie", "scales", "subnormal"])
def test_sums_equal_exact_fractions(kind):
    x = hard_rows(kind, np.random.default_rng(7))
    ones = np.ones(x.shape[1], np.float32)
    assert correctly_rounded.sum_rows(x).tolist() == [exact_product(row, ones) for row in x]
    assert correctly_rounded.sum_of_squares(x).tolist() == [exact_product(row, row) for row in x]


@pytest.mark.parametrize("theta", [10000.0, 500000.0, 65536.0])
def test_rotary_frequencies_and_table_equal_mpfr(theta):
    frequencies = correctly_rounded.rotary_frequencies(theta, 16)
    with gmpy2.context(precision=300):
        real = [gmpy2.mpfr(theta) ** (gmpy2.mpfr(-2 * pair) / 16) for pair in range(8)]
    with gmpy2.context(gmpy2.ieee(64)):
        assert frequencies.tolist() == [float(gmpy2.mpfr(value)) for value in real]
    positions = np.array([0, 1, 2, 1023, 131071, (1 << 26) - 1])
    table = correctly_rounded.rotary_table(positions, frequencies)
    for row, position in enumerate(positions.tolist()):
        for pair, frequency in enumerate(frequencies.tolist()):
            with gmpy2.context(precision=300):
                angle = gmpy2.mpfr(position) * gmpy2.mpfr(frequency)
            with gmpy2.context(gmpy2.ieee(32)):
                assert table[row, pair] == complex(float(gmpy2.cos(angle)), float(gmpy2.sin(angle)))


def test_a_table_whose_entries_are_all_decided_slowly_is_the_same(monkeypatch):
    frequencies = correctly_rounded.rotary_frequencies(10000.0, 8)
    quick = correctly_rounded.rotary_table(np.arange(30), frequencies)
    monkeypatch.setattr(angles, "ERROR", 2.0**-20)
    assert correctly_rounded.rotary_table(np.arange(30), frequencies).tobytes() == quick.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sin", "cos"])
def test_the_assumed_error_of_binary64_functions_holds_with_room(name):
    """The bound of `elementary.py` is 128 units of 2**-53; a machine near it would be told here."""
    chance = np.random.default_rng(8)
    x = (chance.normal(size=50_000) * 8).astype(np.float32)
    x = np.abs(x) if name == "log" else x
    found = getattr(np, name)(x.astype(np.float64))
    with gmpy2.context(precision=200):
        real = [getattr(gmpy2, name)(gmpy2.mpfr(value)) for value in x.tolist()]
        worst = max(abs((gmpy2.mpfr(f) - r) / r) for f, r in zip(found.tolist(), real, strict=True))
    assert float(worst) < 8 * 2.0**-53


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "start", [1.0, 1.0 + 2.0**-23, 2.0**-126, 3 * 2.0**-149, 2.0**-149, 0.0, 2.0**127 * 1.5]
)
@pytest.mark.parametrize("half", [-1, 0, 1, 2])
@pytest.mark.parametrize("rest", [0.0, 2.0**-300, -(2.0**-300)])
def test_sums_beside_half_way_points_go_to_the_right_side(start, half, rest, sign):
    step = float(np.spacing(np.float32(start))) if start else 2.0**-149
    terms = [sign * start, sign * half * step / 2, sign * rest]
    exact = sum(map(Fraction, terms))
    found = sums._exact_sum(np.array(terms))
    assert float(found) == float(nearest.nearest_binary32(exact))
    below, above = (np.nextafter(found, np.float32(end)) for end in (-np.inf, np.inf))
    off = abs(Fraction(float(found)) - exact)
    assert all(off <= abs(Fraction(float(other)) - exact) for other in (below, above))
