"""The llama forward pass, whole.

Letters of the shape comments: t tokens, d the model's width, v vocabulary.
"""

from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.attention import attend
from refquant.runtime.cache import Cache
from refquant.runtime.config import LlamaConfig
from refquant.runtime.linear import Matrix, linear
from refquant.runtime.ops import Floats, rms_norm, rope_table, rotate, swiglu
from refquant.tensor import QuantizedTensor

__all__ = ["BlockWeights", "Llama", "LlamaWeights", "forward"]


class AttentionWeights(TypedDict):
    """Queries, keys and values stacked into one matrix, and the way back to the width."""

    query_key_value: Matrix
    output: Matrix


class FeedForwardWeights(TypedDict):
    """Gate and up stacked into one matrix, and the way back down."""

    gate_up: Matrix
    down: Matrix


class BlockWeights(TypedDict):
    """One layer."""

    attention_norm: Floats
    attention: AttentionWeights
    feed_forward_norm: Floats
    feed_forward: FeedForwardWeights


class LlamaWeights(TypedDict):
    """A model; with tied embeddings `output` is the embedding again."""

    embedding: Floats | QuantizedTensor
    blocks: list[BlockWeights]
    output_norm: Floats
    output: Matrix


def forward(
    tokens: NDArray[np.int64],
    weights: LlamaWeights,
    config: LlamaConfig,
    cache: Cache,
    *,
    last_only: bool = False,
) -> Floats:  # i64[t] -> f32[t, v] or f32[1, v]; the latter for the last token only
    """Logits for the token after each of `tokens`, which go behind what the cache holds."""
    cache.check_room(len(tokens))
    rope = rope_table(cache.length, len(tokens), config.head_width, config.rope_theta)
    x = embed(tokens, weights["embedding"])
    for layer, block in enumerate(weights["blocks"]):
        normal = rms_norm(x, block["attention_norm"], config.norm_epsilon)
        x += attention(
            normal, **block["attention"], rope=rope, config=config, cache=cache, layer=layer
        )
        normal = rms_norm(x, block["feed_forward_norm"], config.norm_epsilon)
        x += feed_forward(normal, **block["feed_forward"])
    cache.advance(len(tokens))
    x = rms_norm(x[-1:] if last_only else x, weights["output_norm"], config.norm_epsilon)
    return linear(x, weights["output"])


def embed(
    tokens: NDArray[np.int64], embedding: Floats | QuantizedTensor
) -> Floats:  # i64[t], f32[v, d] -> f32[t, d]
    """Each token's row; of a packed matrix only these rows are decoded."""
    if isinstance(embedding, QuantizedTensor):
        return embedding.take(tokens)
    return embedding[tokens]


def attention(
    x: Floats,
    query_key_value: Matrix,
    output: Matrix,
    *,
    rope: NDArray[np.complex64],
    config: LlamaConfig,
    cache: Cache,
    layer: int,
) -> Floats:  # f32[t, d] -> f32[t, d]
    """What each token gathers from itself and the tokens before it."""
    cuts = (config.query_rows, config.query_rows + config.key_rows)
    queries, keys, values = (
        part.reshape(len(x), -1, config.head_width)  # [t, heads, head_width]
        for part in np.split(linear(x, query_key_value), cuts, axis=-1)
    )
    queries, keys = (rotate(part, rope, config.rope_style) for part in (queries, keys))
    return linear(attend(queries, *cache.write(layer, keys, values)), output)


def feed_forward(x: Floats, gate_up: Matrix, down: Matrix) -> Floats:  # f32[t, d] -> f32[t, d]
    """What each token computes by itself: down(silu(gate(x)) * up(x))."""
    return linear(swiglu(linear(x, gate_up)), down)


@dataclass(frozen=True, slots=True)
class Llama:
    """One model's numbers and weights, bound to the pass above."""

    config: LlamaConfig
    weights: LlamaWeights = field(repr=False)

    def new_cache(self, capacity: int) -> Cache:
        """Room for the keys and values of `capacity` positions."""
        config = self.config
        return Cache(config.layers, config.key_value_heads, capacity, config.head_width)

    def forward(self, tokens: NDArray[np.int64], cache: Cache, *, last_only: bool) -> Floats:
        """Logits for the token after each of `tokens`, or after the last only."""
        return forward(tokens, self.weights, self.config, cache, last_only=last_only)
