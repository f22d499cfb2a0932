"""From a checkpoint's tensors and fields to a decoder.

Which parts a layer has follows from the tensors that the architecture says the model has; their
numbers come from its fields and from the constants of its family.
"""

import math

from refquant.architectures import Architecture
from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.attention import Sight
from refquant.runtime.blocks import Attention, Experts, FeedForward, Plain
from refquant.runtime.decoder import Block, Decoder
from refquant.runtime.linear import Matrix
from refquant.runtime.ops import Floats
from refquant.runtime.parts import Parts
from refquant.runtime.rope import Rope, rope_of
from refquant.runtime.weights import WeightMode
from refquant.runtime.workers import Crew
from refquant.tensor import QuantizedTensor

__all__ = ["read_decoder"]


def read_decoder(
    checkpoint: Checkpoint,
    architecture: Architecture,
    mode: WeightMode,
    crew: Crew | None = None,
) -> Decoder:
    """The decoder in a checkpoint whose tensors have been checked against its architecture.

    Its matrices are those of the crew, if there is one.
    """
    parts = Parts(checkpoint, architecture, mode, crew)
    embedding = parts.reader.table("token_embd.weight")
    scaled = parts.facts.get("embedding_scale") == "root of width"
    ropes = _ropes(parts)
    return Decoder(
        embedding=embedding,
        blocks=tuple(_block(parts, layer, ropes) for layer in range(parts.count("layers"))),
        output_norm=parts.norm("output_norm"),
        output=_output(parts, embedding),
        positions=parts.vector("position_embd.weight"),
        embedding_scale=math.sqrt(parts.count("width")) if scaled else None,
        logit_cap=parts.number("logit_soft_cap"),
        head_width=_head_width(parts),
    )


def _head_width(parts: Parts) -> int:
    if "head_width" in parts.facts:
        return parts.count("head_width")
    return parts.count("width") // parts.count("heads")


def _output(parts: Parts, embedding: Floats | QuantizedTensor) -> Matrix:
    if parts.has("output.weight"):
        return parts.reader.matrix("output.weight")
    if isinstance(embedding, QuantizedTensor) or parts.reader.has_contract("token_embd.weight"):
        return parts.reader.matrix("token_embd.weight")
    return parts.reader.shared(embedding)


def _ropes(parts: Parts) -> tuple[Rope | None, Rope | None]:
    """The rotation of layers that see everything, and that of windowed layers."""
    if "rope_theta" not in parts.facts:
        return None, None
    full = rope_of(parts.facts, parts.vector("rope_freqs.weight"))
    if "rope_theta_windowed" not in parts.facts:
        return full, full
    plain = {name: parts.facts[name] for name in ("head_width", "rope_style")}
    return full, rope_of({**plain, "rope_theta": parts.facts["rope_theta_windowed"]}, None)


def _block(parts: Parts, layer: int, ropes: tuple[Rope | None, Rope | None]) -> Block:
    block = f"blk.{layer}"
    # gpt-oss calls the norm before its network what Gemma calls the one behind attention.
    own_norm = parts.has(f"{block}.ffn_norm.weight")
    after_attention = f"{block}.post_attention_norm"
    return Block(
        attention_norm=parts.norm(f"{block}.attn_norm"),
        attention=_attention(parts, layer, ropes),
        attention_post_norm=parts.optional_norm(after_attention) if own_norm else None,
        feed_forward_norm=parts.norm(f"{block}.ffn_norm" if own_norm else after_attention),
        feed_forward=_feed_forward(parts, block),
        feed_forward_post_norm=parts.optional_norm(f"{block}.post_ffw_norm"),
    )


def _attention(parts: Parts, layer: int, ropes: tuple[Rope | None, Rope | None]) -> Attention:
    block = f"blk.{layer}"
    window = _window(parts, layer)
    if parts.has(f"{block}.attn_qkv.weight"):
        stacked = parts.affine(f"{block}.attn_qkv")
    else:
        stacked = parts.affine(*(f"{block}.attn_{part}" for part in "qkv"))
    heads = parts.count("heads")
    return Attention(
        heads=heads,
        key_value_heads=int(parts.facts.get("key_value_heads", heads)),
        query_key_value=stacked,
        output=parts.affine(f"{block}.attn_output"),
        sight=Sight(
            divisor=parts.number("score_divisor") or float(_head_width(parts)),
            block=_sight_block(parts),
            window=window,
            cap=parts.number("score_soft_cap"),
        ),
        rope=ropes[0] if window is None else ropes[1],
        query_norm=parts.optional_norm(f"{block}.attn_q_norm"),
        key_norm=parts.optional_norm(f"{block}.attn_k_norm"),
        sinks=parts.vector(f"{block}.attn_sinks.weight"),
    )


def _window(parts: Parts, layer: int) -> int | None:
    """The layer's window; every `window_period`-th layer has none."""
    if "window" not in parts.facts:
        return None
    period = int(parts.facts.get("window_period", 0))
    sees_all = period > 0 and (layer + 1) % period == 0
    return None if sees_all else parts.count("window")


def _sight_block(parts: Parts) -> int | None:
    """1 where tokens are written one by one; None where all see each other."""
    sight = parts.facts.get("sight", "earlier")
    if sight == "all":
        return None
    return parts.count("block_length") if sight == "blocks" else 1


def _feed_forward(parts: Parts, block: str) -> FeedForward:
    down = f"{block}.ffn_down"
    if parts.has(f"{block}.ffn_gate_inp.weight"):
        return Experts(
            router=parts.affine(f"{block}.ffn_gate_inp"),
            networks=parts.gated_experts(block),
            used=parts.count("experts_used"),
            sum_to_one=parts.facts["router"] == "sums to one",
        )
    if parts.has(f"{block}.ffn_gate.weight"):
        both = parts.affine(f"{block}.ffn_gate", f"{block}.ffn_up")
        return parts.gated(both, parts.affine(down))
    up = parts.affine(f"{block}.ffn_up")
    # Phi-3 stores gate and up as one matrix, which is what we make of them in any case.
    if parts.facts.get("gate") == "in up":
        return parts.gated(up, parts.affine(down))
    return Plain(up, parts.affine(down), str(parts.facts["activation"]))
