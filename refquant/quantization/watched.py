"""A model whose matrices show what they read and write, to whoever learns from a text.

Its weights, its arithmetic and its turns among threads are those of the model that it was made
from, and so is every number: only a call is added to each product.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from refquant.errors import UnsupportedError
from refquant.runtime import Model
from refquant.runtime.blocks import Affine, FeedForward, Gated, Plain
from refquant.runtime.decoder import Block, Decoder
from refquant.runtime.linear import Matrix, linear
from refquant.runtime.ops import Floats

__all__ = ["Seen", "watched"]

Seen = Callable[[tuple[str, ...], Floats, Floats], None]
"""The tensors that are stacked in a matrix, what it reads f32[t, k] and writes f32[t, n].

Of names that are spelled in two ways both are given, whichever the file has.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    """A matrix that shows its products."""

    names: tuple[str, ...]
    matrix: Matrix
    seen: Seen

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The product and the bias; then it is shown."""
        y = linear(x, self.matrix, bias)
        self.seen(self.names, x, y)
        return y


def watched(model: Model, seen: Seen) -> Model:
    """The same model, which calls `seen` at each product of a layer or the head.

    Raises `UnsupportedError` for a model that fills in masks, or whose networks are experts, since
    each of these sees few tokens.
    """
    network = model.network
    if model.fills_masks or not isinstance(network, Decoder):
        raise UnsupportedError("what matrices read is collected from models that write in order")
    blocks = tuple(
        _watched_block(f"blk.{layer}", block, seen) for layer, block in enumerate(network.blocks)
    )
    # A file has the first of these or, where they are tied, the second alone.
    head = _Watched(("output.weight", "token_embd.weight"), network.output, seen)
    return replace(model, network=replace(network, blocks=blocks, output=head))


def _watched_block(prefix: str, block: Block, seen: Seen) -> Block:
    def watch(affine: Affine, *parts: str) -> Affine:
        names = tuple(f"{prefix}.{part}.weight" for part in parts)
        return replace(affine, matrix=_Watched(names, affine.matrix, seen))

    attention = replace(
        block.attention,
        query_key_value=watch(
            block.attention.query_key_value, "attn_q", "attn_k", "attn_v", "attn_qkv"
        ),
        output=watch(block.attention.output, "attn_output"),
    )
    return replace(
        block, attention=attention, feed_forward=_watched_network(block.feed_forward, watch)
    )


def _watched_network(network: FeedForward, watch: Callable[..., Affine]) -> FeedForward:
    if isinstance(network, Gated):
        return replace(
            network,
            gate_up=watch(network.gate_up, "ffn_gate", "ffn_up"),
            down=watch(network.down, "ffn_down"),
        )
    if isinstance(network, Plain):
        return replace(
            network, up=watch(network.up, "ffn_up"), down=watch(network.down, "ffn_down")
        )
    raise UnsupportedError("inputs of experts are not collected; each sees few tokens")
