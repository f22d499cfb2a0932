"""Weights that find encoders' mistakes: ties aimed at code boundaries, zeros, extremes, NaN.

Plain random weights almost never hit a tie, and two roundings that differ at ties alone agree on
millions of them. `ties.py` makes weights that do hit them; the other kinds of trouble are here.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import SchemeError
from refquant.schemes import scheme as find_scheme
from refquant.testing.shapes import fitting_shape
from refquant.testing.splitmix import SplitMix64
from refquant.testing.ties import near_ties

__all__ = ["KINDS", "adversarial_inputs"]

F32 = NDArray[np.float32]

Maker = Callable[[SplitMix64, Scheme, tuple[int, ...]], F32]
LARGEST = np.finfo(np.float32).max


def adversarial_inputs(
    scheme: Scheme | str, shape: tuple[int, ...] | None = None
) -> dict[str, F32]:  # -> f32[*shape] for each kind
    """Weights of `shape` for each kind of trouble, the same on every machine.

    Kinds are those of `KINDS`; `non-finite` is there where the scheme has a rule for NaN and
    infinities. Raises `SchemeError` where the scheme cannot encode or `shape` does not fit.
    """
    found = find_scheme(scheme) if isinstance(scheme, str) else scheme
    size = shape or fitting_shape(found, rows=8)
    if reason := found.why_not(size):
        raise SchemeError(reason, scheme=found.name)
    kinds = [kind for kind in KINDS if found.non_finite or kind != "non-finite"]
    if found.operators:
        # Ties are aimed by the layout; the scheme without operators has them.
        kinds = [kind for kind in kinds if not kind.endswith("ties")]
    return {kind: make(found, size, kind, seed) for seed, kind in enumerate(kinds, 1)}


@lru_cache(maxsize=1024)
def make(scheme: Scheme, shape: tuple[int, ...], kind: str, seed: int) -> F32:  # -> f32[*shape]
    """Weights of one kind, read-only."""
    x = np.ascontiguousarray(KINDS[kind](SplitMix64(seed), scheme, shape), np.float32)
    x.flags.writeable = False
    return x


def _zeros(_random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return np.zeros(shape, np.float32)


def _negative_zeros(_random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return np.full(shape, -0.0, np.float32)


def _mixed_zeros(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Mostly zeros of either sign, and a few weights."""
    signs = np.where(random.below(2, *shape) == 0, np.float32(0), np.float32(-0.0))
    return np.where(random.below(8, *shape) == 0, random.bell(*shape), signs)


def _equal(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Every weight of a row the same, with another value and sign in each row."""
    column = random.bell(*shape[:-1], 1)
    return np.broadcast_to(column, shape)


def _bell(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return random.bell(*shape)


def _heavy_tails(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Magnitudes over ten decimal orders: the ninth power of a uniform number."""
    base = random.uniform(*shape)
    power = base
    for _ in range(8):
        power = power * base
    return (power * 1e3).astype(np.float32)


def _outlier(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Small weights and one large one in each row, first, last or anywhere."""
    x = (random.bell(*shape) * np.float32(0.01)).reshape(-1, shape[-1])
    places = random.below(shape[-1], len(x))
    places[0::3], places[1::3] = 0, shape[-1] - 1
    signs = np.where(random.below(2, len(x)) == 0, np.float32(1), np.float32(-1))
    x[np.arange(len(x)), places] = signs * np.float32(50)
    return x.reshape(shape)


def _opposite(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """The largest magnitude twice in each row, with opposite signs, in either order."""
    x = np.clip(random.bell(*shape), -1, 1).reshape(-1, shape[-1])
    last = shape[-1] - 1
    first = np.where(np.arange(len(x)) % 2 == 0, np.float32(2), np.float32(-2))
    x[:, 0], x[:, last] = first, -first
    return x.reshape(shape)


def _subnormal(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Binary32 subnormals, in rows of ever smaller ones down to 2**-149."""
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1) % 22
    patterns = (random.bits(*shape) >> np.uint64(41)).astype(np.uint32) >> rows.astype(np.uint32)
    signs = (random.bits(*shape) >> np.uint64(63)).astype(np.uint32) << np.uint32(31)
    return (patterns | signs).view(np.float32)


def _underflow(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Weights whose scales lie about the least that float16, bfloat16 and binary32 hold."""
    return _by_row(random, shape, (-14, -20, -25, -40, -120, -126))


def _overflow(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Weights whose scales lie about the largest that float16 and binary32 hold."""
    x = _by_row(random, shape, (15, 18, 20, 24, 124, 126)).reshape(-1, shape[-1])
    x[-1, 0] = LARGEST
    return x.reshape(shape)


def _rows_apart(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Rows of very different sizes, for what is decided for all of them together."""
    return _by_row(random, shape, (0, -20, -21, -22, -40, -66, -70, -149))


def _by_row(random: SplitMix64, shape: tuple[int, ...], powers: tuple[int, ...]) -> F32:
    """Weights below 3 in magnitude times a power of two for each row."""
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1) % len(powers)
    return np.ldexp(np.clip(random.bell(*shape), -3, 3), np.array(powers, np.int32)[rows])


def _ties(random: SplitMix64, scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return near_ties(random, scheme, shape, 0)


def _above_ties(random: SplitMix64, scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return near_ties(random, scheme, shape, 1)


def _below_ties(random: SplitMix64, scheme: Scheme, shape: tuple[int, ...]) -> F32:
    return near_ties(random, scheme, shape, -1)


def _absorbed(_random: SplitMix64, scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Groups whose sum depends on its order, with a mean at a tie of float16.

    The first weight is n * (1 + 2**-11); the others are a quarter of its last place, which a sum
    from left to right loses one by one, and a pairwise sum does not.
    """
    size = scheme.group[-1] or shape[-1]
    x = np.full(shape, size * 2.0**-25, np.float32)
    x[..., ::size] = size * (1 + 2.0**-11)
    return x


def _short(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Multiples of one half with few significant bits, so that many are ties of some scale.

    Rows take turns in how many steps lie between zero and the largest, which is always there.
    """
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    steps = np.array([3, 7, 8, 15, 31, 127, 512, 32767])[rows % 8]
    codes = random.below(1 << 20, *shape) % (4 * steps + 1) - 2 * steps
    codes[..., :1] = np.where(rows % 3 == 0, -2 * steps, 2 * steps)
    halves: F32 = (codes * 0.5).astype(np.float32)
    return halves


def _short_range(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Multiples of half a step between a least and a largest weight, 2**n - 1 steps apart.

    The rows of 15 steps span all others, so that a scale of the whole tensor meets ties too.
    """
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    steps = np.array([15, 255, 3, 15, 255, 7, 31, 65535])[rows % 8]
    below = steps * (1 + rows % 3) // 4
    powers = np.array([0, -7, 0, 0, -7, -2, -4, -15])[rows % 8]
    codes = random.below(1 << 20, *shape) % (2 * steps + 1) - 2 * below
    codes[..., :1] = -2 * below
    codes[..., -1:] = 2 * (steps - below)
    halves: F32 = np.ldexp(codes.astype(np.float32), (powers - 1).astype(np.int32))
    return halves


def _least(random: SplitMix64, scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """The same few steps where one is the least number of binary32, and quotients lose bits."""
    least: F32 = np.ldexp(_short(random, scheme, shape), np.int32(-148))
    return least


def _powers(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Powers of two and the numbers just beside them, the largest of a row among them."""
    exponents = -random.below(9, *shape).astype(np.int32)
    exponents[..., :1] = 0
    exact = np.ldexp(np.float32(1), exponents)
    beside = np.stack([exact, np.nextafter(exact, np.float32(0)), exact * np.float32(1.9921875)])
    kinds = random.below(3, *shape)
    x: F32 = np.take_along_axis(beside, kinds[None], axis=0)[0]
    return np.where(random.below(2, *shape) == 0, x, -x)


def _one_sign(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Rows without a change of sign, far from zero."""
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    signs = np.where(rows % 2 == 0, np.float32(1), np.float32(-1))
    return (np.abs(random.bell(*shape)) + np.float32(0.25)) * signs


def _half_edges(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """Rows whose scales, for one of the usual counts of steps, are at an edge of binary16."""
    rows = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    edges = np.array([65504, 65520, 65536, 2.0**-24, 2.0**-25, 2.0**-14], np.float32)[rows % 6]
    steps = np.array([1, 2, 7, 8, 127], np.float32)[random.below(5, *rows.shape)]
    x = random.uniform(*shape)
    x[..., :1] = 1
    return (x * edges * steps).astype(np.float32)


def _non_finite(random: SplitMix64, _scheme: Scheme, shape: tuple[int, ...]) -> F32:
    """A few NaN and infinities among usual weights, alone and together."""
    x = random.bell(*shape).reshape(-1, shape[-1])
    kinds = np.array([np.nan, np.inf, -np.inf], np.float32)
    for row in range(len(x)):
        for place in random.below(shape[-1], 1 + row % 3):
            x[row, place] = kinds[(row + int(place)) % 3]
    return x.reshape(shape)


KINDS: dict[str, Maker] = {
    "bell": _bell,
    "ties": _ties,
    "above ties": _above_ties,
    "below ties": _below_ties,
    "zeros": _zeros,
    "negative zeros": _negative_zeros,
    "mixed zeros": _mixed_zeros,
    "equal": _equal,
    "opposite extremes": _opposite,
    "outlier": _outlier,
    "heavy tails": _heavy_tails,
    "subnormal": _subnormal,
    "underflow": _underflow,
    "overflow": _overflow,
    "non-finite": _non_finite,
    "absorbed": _absorbed,
    "short": _short,
    "short range": _short_range,
    "least": _least,
    "powers": _powers,
    "one sign": _one_sign,
    "rows apart": _rows_apart,
    "edges of halves": _half_edges,
}
"""What each kind of input is made by."""
