"""Grouped-query attention: every query looks at the keys of the positions that it may see.

Query head q reads the keys and values of head q // (heads / key_value_heads).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.ops import Floats, products, soft_cap, softmax

__all__ = ["Sight", "attend"]

# Queries are taken so many at a time, so that scores stay in a cache, and so that an early tile
# never multiplies the keys that it must not see.
QUERY_TILE: Final = 64


@dataclass(frozen=True, slots=True)
class Sight:
    """Which positions a query sees, and how their scores are made.

    Blocks of `block` positions see themselves and everything before them: 1 is causal attention,
    and with None all positions see each other. With a `window`, only so many of the latest
    positions are seen, the query's own included. A score is query . key / sqrt(`divisor`), bent
    below `cap` if there is one.
    """

    divisor: float
    block: int | None = 1
    window: int | None = None
    cap: float | None = None

    def start(self, position: int) -> int:
        """The first position that a query at `position` sees."""
        return 0 if self.window is None else max(0, position - self.window + 1)

    def stop(self, position: int, length: int) -> int:
        """The first position behind those that it sees."""
        if self.block is None:
            return length
        return min(length, (position // self.block + 1) * self.block)


def attend(
    queries: Floats, keys: Floats, values: Floats, sight: Sight, sinks: Floats | None = None
) -> Floats:  # f32[t, h, d], f32[g, n, d], f32[g, n, d], sight, f32[h]? -> f32[t, h * d]
    """The mean of the values, weighted by the softmax of the scores of visible positions.

    The queries belong to the last t of the n positions. A head's sink is a score of its own that
    stands for no position.
    """
    tokens, heads, width = queries.shape
    groups, length = keys.shape[:2]
    scaled = queries * np.float32(1 / math.sqrt(sight.divisor))
    by_group = scaled.reshape(tokens, groups, heads // groups, width)
    sink = None if sinks is None else sinks.reshape(groups, heads // groups)
    mixed = np.empty_like(by_group)
    if tokens == 1 or primitives().each_row_alone:
        for row, position in enumerate(range(length - tokens, length)):
            seen = slice(sight.start(position), sight.stop(position, length))
            _attend_one(by_group[row], keys[:, seen], values[:, seen], sight, sink, mixed[row])
        return mixed.reshape(tokens, heads * width)
    for start in range(0, tokens, QUERY_TILE):
        tile = slice(start, min(start + QUERY_TILE, tokens))
        first, last = length - tokens + tile.start, length - tokens + tile.stop - 1
        seen = slice(sight.start(first), sight.stop(last, length))
        blind = _blind(first, last, sight, length)
        for group in range(groups):
            mixed[tile, group] = _attend_tile(
                by_group[tile, group],
                keys[group, seen],
                values[group, seen],
                sight,
                blind,
                None if sink is None else sink[group],
            )
    return mixed.reshape(tokens, heads * width)


@lru_cache(maxsize=64)
def _blind(
    first: int, last: int, sight: Sight, length: int
) -> Floats:  # int, int, sight, int -> f32[t, m]
    """Minus infinity where a query from `first` to `last` does not see a key, else zero.

    It is for the last m of the keys that any of these queries sees; all of them see the ones
    before. Every layer asks for the same ones.
    """
    start, stop = sight.start(first), sight.stop(last, length)
    nearest = start if sight.window is not None else sight.stop(first, length)
    places = np.arange(min(nearest, stop), stop)
    positions = range(first, last + 1)
    starts = np.array([sight.start(position) for position in positions])
    stops = np.array([sight.stop(position, length) for position in positions])
    hidden = (places < starts[:, np.newaxis]) | (places >= stops[:, np.newaxis])
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def _scores(scores: Floats, sight: Sight) -> Floats:  # f32[...] -> f32[...]
    return scores if sight.cap is None else soft_cap(scores, sight.cap)


def _attend_one(
    queries: Floats,
    keys: Floats,
    values: Floats,
    sight: Sight,
    sink: Floats | None,
    mixed: Floats,
) -> None:  # f32[g, q, d], f32[g, n, d], f32[g, n, d], sight, f32[g, q]?, f32[g, q, d]
    """One token's queries: one matrix-vector product for each head, which BLAS does best."""
    scores = _scores(products(keys[:, np.newaxis], queries[..., np.newaxis])[..., 0], sight)
    weights = softmax(scores, out=scores, sink=sink)  # [g, q, n]
    mixed[:] = products(weights[:, :, np.newaxis], values[:, np.newaxis])[:, :, 0]


def _attend_tile(
    queries: Floats,
    keys: Floats,
    values: Floats,
    sight: Sight,
    blind: Floats,
    sink: Floats | None,
) -> Floats:  # f32[t, q, d], f32[n, d], f32[n, d], sight, f32[t, m], f32[q]? -> f32[t, q, d]
    """The queries of t neighbouring positions, for one head of keys and values."""
    tokens, per_key, width = queries.shape
    scores = _scores(products(queries.reshape(-1, width), keys.T), sight)  # [t * q, n]
    scores = scores.reshape(tokens, per_key, -1)
    scores[:, :, scores.shape[2] - blind.shape[1] :] += blind[:, np.newaxis]
    shared = None if sink is None else np.broadcast_to(sink, (tokens, per_key))
    weights = softmax(scores, out=scores, sink=shared)
    return products(weights.reshape(tokens * per_key, -1), values).reshape(queries.shape)
