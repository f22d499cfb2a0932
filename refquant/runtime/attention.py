"""Grouped-query attention: every query looks at the keys of its own and all earlier positions.

Query head q reads the keys and values of head q // (heads / key_value_heads).
"""

from typing import Final

import numpy as np

from refquant.runtime.ops import Floats, softmax

__all__ = ["attend"]

# Queries are taken 128 at a time, so that the scores of a long prompt stay small, and so that an
# early tile never multiplies the keys that it must not see.
QUERY_TILE: Final = 128


def attend(
    queries: Floats, keys: Floats, values: Floats
) -> Floats:  # f32[t, h, d], f32[g, n, d], f32[g, n, d] -> f32[t, h * d]
    """The mean of the values, weighted by softmax(query . key / sqrt(d)) over visible positions.

    The queries belong to the last t of the n positions.
    """
    tokens, heads, width = queries.shape
    groups = keys.shape[0]
    scaled = queries * np.float32(width**-0.5)
    by_group = scaled.reshape(tokens, groups, heads // groups, width)
    if tokens == 1:
        return _attend_one(by_group[0], keys, values).reshape(1, heads * width)
    mixed = np.empty_like(by_group)
    for group in range(groups):
        for start in range(0, tokens, QUERY_TILE):
            tile = by_group[start : start + QUERY_TILE, group]
            visible = keys.shape[1] - tokens + start + tile.shape[0]
            mixed[start : start + QUERY_TILE, group] = _attend_tile(
                tile, keys[group, :visible], values[group, :visible]
            )
    return mixed.reshape(tokens, heads * width)


def _attend_one(
    queries: Floats, keys: Floats, values: Floats
) -> Floats:  # f32[g, q, d], f32[g, n, d], f32[g, n, d] -> f32[g, q, d]
    """One token's queries: one matrix-vector product for each head, which BLAS does best."""
    scores = np.matmul(keys[:, np.newaxis], queries[..., np.newaxis])[..., 0]  # [g, q, n]
    weights = softmax(scores, out=scores)
    mixed: Floats = np.matmul(weights[:, :, np.newaxis], values[:, np.newaxis])[:, :, 0]
    return mixed


def _attend_tile(
    queries: Floats, keys: Floats, values: Floats
) -> Floats:  # f32[t, q, d], f32[n, d], f32[n, d] -> f32[t, q, d]
    """The queries of the last t of n positions, for one head of keys and values."""
    tokens, per_key, width = queries.shape
    scores = queries.reshape(-1, width) @ keys.T  # [t * q, n]
    scores = scores.reshape(tokens, per_key, -1)
    later = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    scores[:, :, -tokens:] += later[:, np.newaxis]
    weights = softmax(scores, out=scores)
    mixed: Floats = (weights.reshape(tokens * per_key, -1) @ values).reshape(queries.shape)
    return mixed
