"""Weights on both sides of an encoder's decisions: neighbouring floats that it tells apart.

An encoder is constant between its decisions, and two encoders whose arithmetic differs in one
rounding decide at other floats. Weights at random almost never lie there. Here a weight moves from
one value to another that our encoder tells apart, and the way is halved until the two are
neighbours: one has the old codes, the next float has new ones. Whoever computes in another order
turns over somewhere else, and the comparison with him fails.
"""

from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np

import refquant
from refquant.layout import Minifloat, field_codes
from tests.tensor_parts import every_distribution

__all__ = ["aimed", "decisions", "under_short_scales"]

SHORT = 16
"""Fields of at most so many bits are watched; a wider float turns over at every step."""

POWERS = (0, 0, 0, -7, -14, -20, -27, 14, 40, -60, -128, -140, 110, 127)
"""Magnitudes of units: usual, at both ends of binary16, and at both ends of binary32."""


@dataclass(frozen=True)
class Grid:
    """The floats of a dtype as integers in the same order, so that neighbours differ by one."""

    dtype: type
    bits: int

    def key(self, x):  # f32[...] -> i64[...]
        largest = np.float32(ml_dtypes.finfo(self.dtype).max)
        words = np.clip(x, -largest, largest).astype(self.dtype).view(f"u{self.bits // 8}")
        magnitude = (words & ((1 << (self.bits - 1)) - 1)).astype(np.int64)
        # -0.0 stands below 0.0, at -1.
        return np.where(words >> (self.bits - 1) == 1, ~magnitude, magnitude)

    def number(self, key):  # i64[...] -> f32[...]
        words = np.where(key < 0, ~key | 1 << (self.bits - 1), key).astype(f"u{self.bits // 8}")
        return words.view(self.dtype).astype(np.float32)


GRIDS = {
    "f32": Grid(np.float32, 32),
    "bf16": Grid(ml_dtypes.bfloat16, 16),
    "f16": Grid(np.float16, 16),
}


@dataclass(frozen=True)
class Units:
    """What shares the parameters of a scheme: groups of columns, rows, or whole tensors."""

    columns: int
    whole: bool

    def cut(self, x):  # [tensors, rows, columns] -> [tensors, units, n]
        return x.reshape(len(x), -1, self.columns or x[0].size)


def units_of(scheme, columns):
    """Groups; where a tensor has one parameter more, the groups inside of it."""
    if len(scheme.group) == 1:
        return Units(scheme.group[0] or columns, whole=False)
    shares = [field.over for field in scheme.layout.fields.values() if field.over[-1] > 1]
    return Units(shares[0][-1] if shares else 0, whole=True)


def aimed(name, width=1024, dtype="f32"):  # -> f32[rows, width]
    """All distributions of weights, and below them the decisions of a scheme."""
    usual = every_distribution(min(width, 1024)).reshape(-1, width)
    found = decisions(name, (1, 96, width), dtype=dtype)
    return np.concatenate([usual, found.reshape(-1, width)])


@cache
def decisions(name, shape, seed=0, dtype="f32"):  # -> f32[tensors, rows, columns]
    """Tensors of `shape` (tensors, rows, columns) before decisions, and the same behind them.

    First all weights between the extremes of their unit move at once, which finds the boundaries
    of codes under fixed parameters. Then one weight of a unit moves, often its largest, until a
    field of few bits changes: its code, or a rounded scale or zero point.
    """
    scheme, rng, grid = refquant.scheme(name), np.random.default_rng(seed), GRIDS[dtype]
    units, parts = units_of(scheme, shape[-1]), []
    for key in [None, *watched(scheme)]:
        start = grid.number(grid.key(bases(rng, units, shape)))
        move = together if key is None else alone
        end, moved = move(rng, units, start)

        def seen(x, key=key):
            return observed(scheme, units, x, key)

        parts += neighbours(seen, start, np.where(moved, end, start), grid)
    x = np.concatenate(parts)
    x.flags.writeable = False
    return x


def watched(scheme):
    """Names of fields whose codes have few bits."""
    for name, field in scheme.layout.fields.items():
        if not isinstance(field.element, Minifloat) or field.element.bits <= SHORT:
            yield name


def neighbours(seen, start, end, grid):  # -> two of f32[tensors, rows, columns]
    """The last weights on each way that are seen as `start` is, and the next ones after them."""
    low, high = grid.key(start), grid.key(end)
    first = seen(grid.number(low))
    high = np.where(seen(grid.number(high)) != first, high, low)
    for _ in range(grid.bits):
        middle = low + (high - low) // 2
        same = seen(grid.number(middle)) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return grid.number(low), grid.number(high)


def observed(scheme, units, x, key):  # f32[tensors, rows, columns], name or None -> u64[...]
    """The code of each weight; or for a name, a digest of the unit's codes of that field."""
    tensors = list(x) if units.whole else [x.reshape(-1, x.shape[-1])]
    found = []
    for part in tensors:
        tensor = refquant.quantize(part, scheme)
        for name in [key] if key else watched(scheme):
            plane = tensor.layout.fields[name].plane
            codes = field_codes(tensor.layout, name, tensor.planes[plane], part.shape)
            if key or codes.size == part.size:
                found.append(codes.astype(np.uint64))
                break
    codes = np.stack(found)
    if key is None:
        return codes.reshape(x.shape)
    count = units.cut(x).shape[:2]
    codes = codes.reshape(*count, -1)
    factors = np.random.default_rng(1).integers(1, 1 << 63, codes.shape[-1], np.uint64) | 1
    digests = (codes * factors).sum(axis=-1, keepdims=True, dtype=np.uint64)
    return np.broadcast_to(digests, units.cut(x).shape).reshape(x.shape)


def bases(rng, units, shape):  # -> f32[tensors, rows, columns]
    """Units of several kinds and magnitudes."""
    x = units.cut(rng.standard_normal(shape))
    kinds = rng.integers(0, 8, (*x.shape[:2], 1))
    spread = x * 2.0 ** rng.uniform(-20, 0, x.shape)
    constant = np.where(rng.random(x.shape) < 0.1, x, x[..., :1])
    choices = [
        x,
        np.abs(x) + 0.25,
        -np.abs(x) - 0.25,
        spread,
        np.where(rng.random(x.shape) < 0.8, np.copysign(0.0, x), x),
        np.rint(x * 4) / 2,
        np.where(np.arange(x.shape[-1]) == 1, -x[..., :1] * 4, np.clip(x, -1, 1)),
        constant,
    ]
    choices[6][..., 0] = x[..., 0] * 4
    powers = rng.choice(POWERS, (len(x), 1, 1) if units.whole else kinds.shape)
    with np.errstate(over="ignore", under="ignore"):
        return (np.choose(kinds, choices) * 2.0**powers).astype(np.float32).reshape(shape)


def together(rng, units, start):  # -> f32[tensors, rows, columns], bool[...]
    """Every weight moves between the extremes of its unit, which stay."""
    x = units.cut(start).astype(np.float64)
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    end = low + rng.random(x.shape) * (high - low)
    end = np.where(rng.random(x.shape) < 0.2, rng.permuted(x, axis=-1), end)
    moved = np.ones(x.shape, bool)
    for place in (x.argmin(-1), x.argmax(-1), np.abs(x).argmax(-1)):
        np.put_along_axis(moved, place[..., None], False, axis=-1)
    return end.astype(np.float32).reshape(start.shape), moved.reshape(start.shape)


def alone(rng, units, start):  # -> f32[tensors, rows, columns], bool[...]
    """One weight of each unit moves, its largest in two of three; the tensor's largest stays."""
    x = units.cut(start).astype(np.float64)
    count = x.shape[:2]
    places = rng.integers(0, x.shape[-1], count)
    places = np.choose(rng.integers(0, 3, count), [places, np.abs(x).argmax(-1), x.argmin(-1)])
    factor = rng.choice([0.5, 2.0, 4.0, -1.0, 0.9, 1.25, 1 + 2.0**-9, 0.0], (*count, 1))
    moved = np.arange(x.shape[-1]) == places[..., None]
    largest = np.abs(start).max(axis=(1, 2), keepdims=True) if units.columns else np.inf
    if units.whole and units.columns:
        moved &= (np.abs(x) < largest).all(axis=-1, keepdims=True)
        x = np.clip(x * factor, -largest / 2, largest / 2)
    else:
        x = np.clip(x * factor, -3e38, 3e38)
    return x.astype(np.float32).reshape(start.shape), moved.reshape(start.shape)


def under_short_scales(bits, shape, group, seed=0, *, symmetric=False):  # -> f32[rows, columns]
    """Groups whose affine scales float16 holds, so that ties are exact and all rules meet them.

    A range holds 0.0, at an end at times, and is `2**bits - 1` steps long; weights are codes and
    the middles between two of them, half of them one float beside.
    """
    rng, top = np.random.default_rng(seed), (1 << bits) - 1
    count = (shape[0] * shape[1] // group, 1)
    power = rng.integers(-10, 6, count).astype(np.float64)
    scale = np.float16(2.0**power * (1 + rng.random(count))).astype(np.float64)
    zero = np.full(count, top / 2) if symmetric else rng.integers(0, top + 1, count)
    steps = np.floor(rng.uniform(-zero, top - zero, (count[0], group))) + 0.5
    steps -= 0.5 * (rng.random(steps.shape) < 0.2)
    x = (steps * scale).astype(np.float32)
    toward = rng.choice([-np.inf, np.inf], x.shape).astype(np.float32)
    x = np.where(rng.random(x.shape) < 0.5, np.nextafter(x, toward), x)
    low, high = ((edge * scale).astype(np.float32) for edge in (-zero, top - zero))
    x = np.clip(x, low, high)
    x[:, :1], x[:, 1:2] = low, high
    return x.reshape(shape)
