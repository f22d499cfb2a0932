"""Weights and bytes on which encoders and decoders of ggml's formats can go wrong.

`weights` yields named distributions as `f32[blocks, 256]`, so that every block size divides them;
`records` yields bytes whose scales run through all classes of binary16 numbers. All of it is a
function of the seed.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["HALF_CLASSES", "NOT_FINITE", "records", "weights"]

F32 = NDArray[np.float32]

WIDTH = 256
LEVELS = (1, 2, 3, 4, 7.5, 8, 15, 16, 31, 32, 63, 127)
"""Steps from zero to the largest magnitude in the formats under test; ties lie between steps."""

NOT_FINITE = "not finite"
"""The name of the one distribution with NaN and infinities."""

HALF_CLASSES = np.frombuffer(
    bytes.fromhex(
        "0000 0080 0100 0180 ff03 0004 003c 00bc ff7b fffb 007c 00fc 017c 007e 01fe ff7f"
    ),
    "<u2",
)
"""binary16: zeros, subnormals, least normal, ones, largest, infinities, both kinds of NaN."""


def weights(blocks: int, seed: int = 0, *, finite: bool = False) -> Iterator[tuple[str, F32]]:
    """Each distribution with its name; `finite` leaves the one with NaN and infinities out."""
    rng = np.random.default_rng(seed)
    shape = (blocks, WIDTH)
    yield "normal", rng.standard_normal(shape, np.float32)
    yield "heavy tails", _f32(rng.standard_t(1.2, shape))
    yield "sparse", _sparse(rng, shape)
    yield "ties", _ties(rng, shape)
    yield "affine ties", _ties(rng, shape, offset=True)
    yield "constants", _constants(rng, shape)
    yield "subnormal", _subnormal(rng, shape)
    yield "edges of binary16", _half_edges(rng, shape)
    yield "pairs of extremes", _pairs(rng, shape)
    yield "one sign", np.abs(rng.standard_normal(shape, np.float32)) + np.float32(0.25)
    yield "all exponents", _f32(rng.standard_normal(shape) * 2.0 ** rng.uniform(-150, 126, shape))
    yield "one outlier", _outlier(rng, shape)
    if not finite:
        yield NOT_FINITE, _not_finite(rng, shape)


def _f32(x: NDArray[np.float64]) -> F32:
    with np.errstate(over="ignore", under="ignore"):
        return np.nan_to_num(x.astype(np.float32), posinf=3e38, neginf=-3e38)


def _sparse(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    x = rng.standard_normal(shape, np.float32)
    x[rng.random(shape) < 0.9] = 0
    x[rng.random(shape) < 0.05] = np.float32(-0.0)
    return x


def _ties(rng: np.random.Generator, shape: tuple[int, int], *, offset: bool = False) -> F32:
    """Half-way codes of a scale that the format will choose, and their neighbours by one ulp.

    Step counts take turns: over the runs of 32 in odd rows, over whole rows in even ones.
    """
    rows, runs = np.indices((shape[0], shape[1] // 32))
    turn = np.where(rows % 2, rows * runs.shape[1] + runs, rows // 2)
    steps = np.asarray(LEVELS)[turn % len(LEVELS)][..., None]
    scale = np.where(rows % 2, _scales(rng, rows.shape), _scales(rng, (shape[0], 1)))[..., None]
    places = (*rows.shape, 32)
    codes = np.floor(rng.uniform(-steps, steps, places)) + 0.5 * (rng.random(places) < 0.7)
    codes = np.clip(codes, -steps, steps)
    codes[..., 0] = steps[..., 0] * rng.choice([-1, 1], rows.shape)
    values = codes * scale
    if offset:
        values += scale * rng.integers(-40, 41, rows.shape)[..., None]
    near = values.reshape(shape).astype(np.float32)
    moved = np.nextafter(near, np.float32(np.inf) * rng.choice([-1, 1], shape).astype(np.float32))
    chosen = rng.random(shape) < 0.6
    chosen[:, ::32] = True
    return np.where(chosen, near, moved)


def _scales(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Powers of two half of the time, else small integers or any numbers."""
    kinds = rng.integers(0, 4, shape)
    powers = 2.0 ** rng.integers(-8, 9, shape)
    return np.choose(kinds, [powers, powers, rng.integers(1, 9, shape), rng.random(shape)])


def _constants(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    levels = rng.standard_normal((shape[0], 8)).astype(np.float32)
    levels[rng.random(levels.shape) < 0.3] = 0
    levels[rng.random(levels.shape) < 0.2] = np.float32(-0.0)
    x = np.repeat(levels, shape[1] // 8, axis=1)
    x[0::4], x[1::4] = np.float32(0.0), np.float32(-0.0)
    return x


def _subnormal(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    power = rng.uniform(-149, -118, (shape[0], 1)) + rng.uniform(-6, 0, shape)
    return _f32(rng.choice([-1, 0, 1], shape) * 2.0**power)


def _half_edges(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    """Groups of 16 whose scales, for one of the formats' step counts, leave binary16's range."""
    runs = (shape[0], shape[1] // 16, 1)
    edge = rng.choice([65504.0, 65519.0, 65520.0, 65536.0, 2.0**-24, 2.0**-25, 2.0**-14], runs)
    steps = rng.choice(np.asarray(LEVELS), runs)
    x = rng.uniform(-1, 1, (*runs[:2], 16))
    x[..., 0] = rng.choice([-1, 1], runs[:2])
    nudge = 1 + rng.integers(-2, 3, runs) * 2.0**-23
    return _f32((x * edge * steps * nudge).reshape(shape))


def _pairs(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    x = rng.uniform(-1, 1, shape).astype(np.float32)
    for start in range(0, shape[1], 16):
        places = start + np.argsort(rng.random((shape[0], 16)), axis=1)[:, :2]
        largest = rng.uniform(1, 3, (shape[0], 1)).astype(np.float32)
        np.put_along_axis(x, places, largest * np.array([1, -1], np.float32), axis=1)
    return x


def _outlier(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    x = rng.standard_normal(shape, np.float32) * np.float32(0.01)
    x[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = rng.choice([-1, 1]) * 300.0
    return x


def _not_finite(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    x = rng.standard_normal(shape, np.float32) * np.float32(10) ** rng.integers(
        -3, 4, (shape[0], 1)
    ).astype(np.float32)
    chance = rng.choice([0.004, 0.03, 0.3, 1.0], (shape[0], 1))
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7FD55555, 0xFFF00001], np.uint32).view(np.float32)
    kinds = np.concatenate([nans, _f32(np.array([np.inf, -np.inf])), [np.inf, -np.inf]])
    kinds = kinds.astype(np.float32)
    hit = rng.random(shape) < chance
    x[hit] = kinds[rng.integers(0, len(kinds), int(hit.sum()))]
    return x


def records(
    count: int, size: int, halves: tuple[int, ...], seed: int = 0
) -> NDArray[np.uint8]:  # -> u8[count, size]
    """Random records; the binary16 numbers at bytes `halves` take every class in turn."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, size), np.uint8)
    for place in halves:
        chosen = np.arange(count) % 3 != 0
        kinds = HALF_CLASSES[rng.integers(0, len(HALF_CLASSES), count)]
        data[chosen, place : place + 2] = kinds[chosen].astype("<u2").view(np.uint8).reshape(-1, 2)
    for row, value in enumerate((0x00, 0xFF, 0x0F, 0xF0, 0x55, 0xAA, 0x80, 0x7F)):
        data[row % count] = value
    return data
