"""The llama family: RMSNorm, rotary positions, grouped-query attention and a SwiGLU network.

It covers Llama 2 and 3, TinyLlama, SmolLM2, Mistral with its sliding window, and Mixtral, whose
networks are experts. `spec/arch/llama.md` states the forward pass.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.decoder_fields import RULES, decoder_fields
from refquant.architectures.decoder_tensors import (
    ATTENTION,
    EMBEDDING,
    GATED,
    IGNORED_HUGGING_FACE,
    OUTPUT,
    query_key_value_biases,
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse_hugging_face,
)
from refquant.architectures.experts import EXPERTS, expert_fields, expert_tensors, experts_from
from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_flag
from refquant.architectures.rotary_fields import ROPE_FACTORS
from refquant.architectures.windows import (
    window_fields,
    window_from_gguf,
    window_from_layer_types,
)

__all__ = ["LLAMA"]

FIELDS: Final = (
    *decoder_fields("llama"),
    *window_fields("llama"),
    FieldSpec(
        "query_key_value_bias",
        "flag",
        "true if queries, keys and values have biases",
        hugging_face="attention_bias",
        optional=True,
    ),
    FieldSpec(
        "attention_output_bias",
        "flag",
        "true if the way back from attention has one",
        hugging_face="attention_bias",
        optional=True,
    ),
    FieldSpec(
        "feedforward_bias",
        "flag",
        "true if the network's three matrices have biases",
        hugging_face="mlp_bias",
        optional=True,
    ),
    *expert_fields("llama", "num_local_experts", optional=True),
)

BIASES: Final = (
    *query_key_value_biases(present_if="query_key_value_bias"),
    TensorSpec(
        "blk.{layer}.attn_output.bias",
        ("width",),
        "model.layers.{layer}.self_attn.o_proj.bias",
        present_if="attention_output_bias",
    ),
    *(
        TensorSpec(
            f"blk.{{layer}}.ffn_{part}.bias",
            (length,),
            f"model.layers.{{layer}}.mlp.{part}_proj.bias",
            present_if="feedforward_bias",
        )
        for part, length in (
            ("gate", "feedforward_width"),
            ("up", "feedforward_width"),
            ("down", "width"),
        )
    ),
)
FEED_FORWARD: Final = (
    GATED[0],
    *(dataclasses.replace(spec, absent_if="experts") for spec in GATED[1:]),
    *expert_tensors(
        "model.layers.{layer}.block_sparse_moe.gate.weight",
        "model.layers.{layer}.block_sparse_moe.experts.{expert}",
        ("w1", "w3", "w2"),
    ),
)

UNSUPPORTED_TENSORS: Final = {
    "blk.{layer}.attn_q_norm.weight": "normalised queries",
    "blk.{layer}.attn_k_norm.weight": "normalised keys",
    "blk.{layer}.ffn_gate_shexp.weight": "experts that every token takes",
    "rope_factors_long.weight": "rope_scaling of type longrope",
    "rope_factors_short.weight": "rope_scaling of type longrope",
}

# The classes of Mistral and Mixtral give values of their own to keys that a file leaves out.
DEFAULTS: Final[Mapping[object, Mapping[str, object]]] = {
    "mistral": {"sliding_window": 4096, "num_key_value_heads": 8},
    "mixtral": {
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
}
MIXTRAL_THETA: Final = 1e6


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `llama`.

    Its query and key rows are permuted so that neighbours rotate together.
    """
    fields = {
        **decoder_from_gguf(FIELDS, metadata, tensor_names, "llama", rope_style="interleaved"),
        **window_from_gguf(metadata, "llama", period=None),
    }
    flags = {
        "query_key_value_bias": "blk.0.attn_q.bias",
        "attention_output_bias": "blk.0.attn_output.bias",
        "feedforward_bias": "blk.0.ffn_gate.bias",
    }
    fields.update({flag: True for flag, name in flags.items() if name in tensor_names})
    if metadata.get("llama.expert_count", 0) != 0:
        keys = ("llama.expert_count", "llama.expert_used_count")
        fields.update(experts_from(metadata, keys, "GGUF metadata"))
    return fields


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `llama`, `mistral` or `mixtral`."""
    kind = config.get("model_type")
    config = {**DEFAULTS.get(kind, {}), **config}
    refuse_hugging_face(config, "llama", activations={"hidden_act": ("silu", "swish")})
    fields = {
        **decoder_from_hugging_face(
            FIELDS, config, theta=MIXTRAL_THETA if kind == "mixtral" else 10000.0
        ),
        **window_from_layer_types(config, period=None),
    }
    if read_flag(config, "attention_bias", "config.json", default=False):
        fields.update(query_key_value_bias=True, attention_output_bias=True)
    if read_flag(config, "mlp_bias", "config.json", default=False):
        fields.update(feedforward_bias=True)
    if kind == "mixtral":
        keys = ("num_local_experts", "num_experts_per_tok")
        fields.update(experts_from(config, keys, "config.json"))
    return fields


LLAMA: Final = Family(
    name="llama",
    title="Llama 2 and 3, Mistral, Mixtral, TinyLlama, SmolLM2",
    fields=FIELDS,
    rules=(*RULES, EXPERTS),
    tensor_specs=(ROPE_FACTORS, EMBEDDING, *ATTENTION, *FEED_FORWARD, *BIASES, *OUTPUT),
    unsupported_tensors=UNSUPPORTED_TENSORS,
    gguf_architectures=("llama",),
    hugging_face_types=("llama", "mistral", "mixtral"),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "silu", "router": "sums to one"},
)
