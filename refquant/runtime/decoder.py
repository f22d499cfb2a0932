"""The decoder's forward pass, whole, for every family that writes text.

Families differ in what their blocks hold (`blocks.py`), not in the order of things, which is here.

Letters of the shape comments: t tokens, d the model's width, v vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.errors import LimitError
from refquant.runtime.blocks import (
    Attention,
    FeedForward,
    Norm,
    attention,
    feed_forward,
    normalize,
)
from refquant.runtime.cache import Cache
from refquant.runtime.linear import Matrix, linear
from refquant.runtime.ops import Floats, soft_cap
from refquant.runtime.precision import rounded
from refquant.tensor import QuantizedTensor

__all__ = ["Block", "Decoder", "Watch", "embed", "forward", "watch_nothing"]

Watch = Callable[[str, Floats], None]
"""Is shown the state behind each layer, under the layer's name; it must not change it."""


def watch_nothing(_name: str, _state: Floats) -> None:
    """For those who only want the logits."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One layer: attention, then a network, each behind a norm and perhaps before another."""

    attention_norm: Norm
    attention: Attention
    feed_forward_norm: Norm
    feed_forward: FeedForward
    attention_post_norm: Norm | None = None
    feed_forward_post_norm: Norm | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """A model; with tied embeddings `output` is the embedding again.

    `positions` are vectors added to the embeddings, one for each position, in models that learn
    them. Embeddings are multiplied by `embedding_scale`, and logits bent below `logit_cap`.
    """

    embedding: Floats | QuantizedTensor = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    output_norm: Norm = field(repr=False)
    output: Matrix = field(repr=False)
    positions: Floats | None = field(default=None, repr=False)
    embedding_scale: float | None = None
    logit_cap: float | None = None
    head_width: int = 0

    def new_cache(self, capacity: int) -> Cache:
        """Room for the keys and values of `capacity` positions."""
        heads = self.blocks[0].attention.key_value_heads
        return Cache(len(self.blocks), heads, capacity, self.head_width)

    def forward(
        self,
        tokens: NDArray[np.int64],
        cache: Cache,
        *,
        rows: NDArray[np.int64] | None = None,
        watch: Watch = watch_nothing,
    ) -> Floats:
        """Logits of every token, or of those at the places `rows` among them."""
        return forward(tokens, self, cache, rows=rows, watch=watch)


def forward(
    tokens: NDArray[np.int64],
    model: Decoder,
    cache: Cache,
    *,
    rows: NDArray[np.int64] | None = None,
    watch: Watch = watch_nothing,
) -> Floats:  # i64[t] -> f32[t, v] or f32[m, v]; the latter for m `rows`
    """Logits of `tokens`, which go behind what the cache holds: of all, or of those at `rows`."""
    cache.check_room(len(tokens))
    x = rounded(_embedded(tokens, model, cache.length))
    watch("embedding", x)
    ropes = {block.attention.rope for block in model.blocks}
    tables = {
        rope: None if rope is None else rope.table(cache.length, len(tokens)) for rope in ropes
    }
    for layer, block in enumerate(model.blocks):
        table = tables[block.attention.rope]
        x = _block(x, block, table, partial(cache.write, layer))
        watch(f"blk.{layer}", x)
    cache.advance(len(tokens))
    x = normalize(x if rows is None else x[rows], model.output_norm)
    watch("output_norm", x)
    logits = rounded(linear(x, model.output))
    return logits if model.logit_cap is None else rounded(soft_cap(logits, model.logit_cap))


def embed(
    tokens: NDArray[np.int64], embedding: Floats | QuantizedTensor
) -> Floats:  # i64[t], f32[v, d] -> f32[t, d]
    """Each token's row; of a packed matrix only these rows are decoded."""
    if isinstance(embedding, QuantizedTensor):
        return embedding.take(tokens)
    return embedding[tokens]


def _embedded(
    tokens: NDArray[np.int64], model: Decoder, start: int
) -> Floats:  # i64[t], model, int -> f32[t, d]
    x = embed(tokens, model.embedding)
    if model.embedding_scale is not None:
        x *= np.float32(model.embedding_scale)
    if model.positions is not None:
        if start + len(tokens) > len(model.positions):
            raise LimitError(f"this model has learned {len(model.positions)} positions, no more")
        x += model.positions[start : start + len(tokens)]
    return x


def _block(
    x: Floats,
    block: Block,
    table: NDArray[np.complex64] | None,
    remember: Callable[[Floats, Floats], tuple[Floats, Floats]],
) -> Floats:  # f32[t, d], block, c64[t, m]? -> f32[t, d]
    """One layer; `x` may be changed in place."""
    normal = normalize(x, block.attention_norm)
    inner = attention(normal, block.attention, table, remember)
    if block.attention_post_norm is not None:
        inner = normalize(inner, block.attention_post_norm)
    x = rounded(np.add(x, inner, out=x))
    inner = feed_forward(normalize(x, block.feed_forward_norm), block.feed_forward)
    if block.feed_forward_post_norm is not None:
        inner = normalize(inner, block.feed_forward_post_norm)
    return rounded(np.add(x, inner, out=x))
