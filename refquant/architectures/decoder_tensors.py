"""The tensors that decoder families share, by our names and Hugging Face's."""

from typing import Final

from refquant.architectures.family import TensorSpec

__all__ = [
    "ATTENTION",
    "EMBEDDING",
    "GATED",
    "IGNORED_HUGGING_FACE",
    "OUTPUT",
    "QUERY_KEY_NORMS",
    "QUERY_KEY_VALUE_BIASES",
    "query_key_value_biases",
]

EMBEDDING: Final = TensorSpec(
    "token_embd.weight", ("vocabulary", "width"), "model.embed_tokens.weight"
)
ATTENTION: Final = (
    TensorSpec(
        "blk.{layer}.attn_norm.weight", ("width",), "model.layers.{layer}.input_layernorm.weight"
    ),
    TensorSpec(
        "blk.{layer}.attn_q.weight",
        ("heads * head_width", "width"),
        "model.layers.{layer}.self_attn.q_proj.weight",
    ),
    TensorSpec(
        "blk.{layer}.attn_k.weight",
        ("key_value_heads * head_width", "width"),
        "model.layers.{layer}.self_attn.k_proj.weight",
    ),
    TensorSpec(
        "blk.{layer}.attn_v.weight",
        ("key_value_heads * head_width", "width"),
        "model.layers.{layer}.self_attn.v_proj.weight",
    ),
    TensorSpec(
        "blk.{layer}.attn_output.weight",
        ("width", "heads * head_width"),
        "model.layers.{layer}.self_attn.o_proj.weight",
    ),
)


def query_key_value_biases(present_if: str = "") -> tuple[TensorSpec, ...]:
    """The biases of queries, keys and values."""
    return tuple(
        TensorSpec(
            f"blk.{{layer}}.attn_{part}.bias",
            (f"{heads} * head_width",),
            f"model.layers.{{layer}}.self_attn.{part}_proj.bias",
            present_if=present_if,
        )
        for part, heads in (("q", "heads"), ("k", "key_value_heads"), ("v", "key_value_heads"))
    )


QUERY_KEY_VALUE_BIASES: Final = query_key_value_biases()
QUERY_KEY_NORMS: Final = tuple(
    TensorSpec(
        f"blk.{{layer}}.attn_{part}_norm.weight",
        ("head_width",),
        f"model.layers.{{layer}}.self_attn.{part}_norm.weight",
    )
    for part in "qk"
)
GATED: Final = (
    TensorSpec(
        "blk.{layer}.ffn_norm.weight",
        ("width",),
        "model.layers.{layer}.post_attention_layernorm.weight",
    ),
    TensorSpec(
        "blk.{layer}.ffn_gate.weight",
        ("feedforward_width", "width"),
        "model.layers.{layer}.mlp.gate_proj.weight",
    ),
    TensorSpec(
        "blk.{layer}.ffn_up.weight",
        ("feedforward_width", "width"),
        "model.layers.{layer}.mlp.up_proj.weight",
    ),
    TensorSpec(
        "blk.{layer}.ffn_down.weight",
        ("width", "feedforward_width"),
        "model.layers.{layer}.mlp.down_proj.weight",
    ),
)
OUTPUT: Final = (
    TensorSpec("output_norm.weight", ("width",), "model.norm.weight"),
    TensorSpec(
        "output.weight", ("vocabulary", "width"), "lm_head.weight", absent_if="tied_embeddings"
    ),
)
IGNORED_HUGGING_FACE: Final = (".self_attn.rotary_emb.inv_freq",)
