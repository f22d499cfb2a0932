"""The qwen3_moe family: Qwen3 with a mixture of experts in every layer.

`spec/arch/qwen3_moe.md` states the difference.
"""

from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.decoder_fields import RULES, decoder_fields
from refquant.architectures.decoder_tensors import (
    ATTENTION,
    EMBEDDING,
    GATED,
    IGNORED_HUGGING_FACE,
    OUTPUT,
    QUERY_KEY_NORMS,
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse,
    refuse_hugging_face,
)
from refquant.architectures.experts import EXPERTS, expert_fields, expert_tensors, experts_from
from refquant.architectures.family import Family, FieldSpec, FieldValue
from refquant.architectures.metadata import read_flag

__all__ = ["QWEN3_MOE"]

FIELDS: Final = (
    *decoder_fields("qwen3moe", ("expert_feed_forward_length", "moe_intermediate_size")),
    *expert_fields("qwen3moe", "num_experts"),
    FieldSpec(
        "router",
        "choice",
        "whether the weights of a token's experts are divided by their sum",
        hugging_face="norm_topk_prob",
        choices=("sums to one", "as it is"),
    ),
)
# What Hugging Face's class gives to the keys that a file leaves out.
DEFAULTS: Final = {"num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8}


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `qwen3moe`.

    The format does not say whether the router's weights sum to one; llama.cpp makes them.
    """
    keys = ("qwen3moe.expert_count", "qwen3moe.expert_used_count")
    return {
        **decoder_from_gguf(FIELDS, metadata, tensor_names, "qwen3moe"),
        **experts_from(metadata, keys, "GGUF metadata"),
        "router": "sums to one",
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `qwen3_moe`."""
    flags = ("use_sliding_window", "attention_bias")
    refuse_hugging_face(config, "qwen3_moe", flags, {"hidden_act": ("silu", "swish")})
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise refuse("config.json", "qwen3_moe", "layers without experts")
    # Newer writers of the format use the name that other families have for it.
    count = {"num_experts": config["num_local_experts"]} if "num_local_experts" in config else {}
    config = {**DEFAULTS, **count, **config}
    normed = read_flag(config, "norm_topk_prob", "config.json", default=False)
    return {
        **decoder_from_hugging_face(FIELDS, config),
        **experts_from(config, ("num_experts", "num_experts_per_tok"), "config.json"),
        "router": "sums to one" if normed else "as it is",
    }


QWEN3_MOE: Final = Family(
    name="qwen3_moe",
    title="Qwen3 with a mixture of experts",
    fields=FIELDS,
    rules=(*RULES, EXPERTS),
    tensor_specs=(
        EMBEDDING,
        *ATTENTION,
        *QUERY_KEY_NORMS,
        GATED[0],
        *expert_tensors(
            "model.layers.{layer}.mlp.gate.weight",
            "model.layers.{layer}.mlp.experts.{expert}",
            ("gate_proj", "up_proj", "down_proj"),
        ),
        *OUTPUT,
    ),
    unsupported_tensors={},
    gguf_architectures=("qwen3moe",),
    hugging_face_types=("qwen3_moe",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "silu"},
)
