"""The gpt_oss family: experts with clamped gates, attention sinks, a window in every other layer.

`spec/arch/gpt_oss.md` states the forward pass. Hugging Face keeps gate and up of all experts in
one tensor, element by element in turn; readers part them, so that ours are GGUF's.
"""

from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.decoder_fields import RULES, decoder_fields
from refquant.architectures.decoder_tensors import (
    ATTENTION,
    EMBEDDING,
    IGNORED_HUGGING_FACE,
    OUTPUT,
    QUERY_KEY_VALUE_BIASES,
)
from refquant.architectures.decoders import decoder_from_gguf, decoder_from_hugging_face, refuse
from refquant.architectures.experts import EXPERTS, expert_fields, experts_from
from refquant.architectures.family import Family, FieldValue, HuggingFaceForm, TensorSpec
from refquant.architectures.windows import (
    window_fields,
    window_from_gguf,
    window_from_layer_types,
)

__all__ = ["GPT_OSS"]

FIELDS: Final = (
    *decoder_fields("gpt-oss", ("expert_feed_forward_length", "intermediate_size")),
    *window_fields("gpt-oss"),
    *expert_fields("gpt-oss", "num_local_experts"),
)
LAYER: Final = "model.layers.{layer}"
PARTS: Final[tuple[tuple[str, tuple[str, ...], str, HuggingFaceForm, HuggingFaceForm], ...]] = (
    ("gate", ("feedforward_width", "width"), "gate_up_proj", "even, transposed", "even"),
    ("up", ("feedforward_width", "width"), "gate_up_proj", "odd, transposed", "odd"),
    ("down", ("width", "feedforward_width"), "down_proj", "transposed", "as it is"),
)
TENSORS: Final = (
    EMBEDDING,
    *ATTENTION,
    *QUERY_KEY_VALUE_BIASES,
    TensorSpec("blk.{layer}.attn_output.bias", ("width",), f"{LAYER}.self_attn.o_proj.bias"),
    TensorSpec("blk.{layer}.attn_sinks.weight", ("heads",), f"{LAYER}.self_attn.sinks"),
    TensorSpec(
        "blk.{layer}.post_attention_norm.weight",
        ("width",),
        f"{LAYER}.post_attention_layernorm.weight",
    ),
    TensorSpec(
        "blk.{layer}.ffn_gate_inp.weight", ("experts", "width"), f"{LAYER}.mlp.router.weight"
    ),
    TensorSpec("blk.{layer}.ffn_gate_inp.bias", ("experts",), f"{LAYER}.mlp.router.bias"),
    *(
        spec
        for part, shape, source, form, bias_form in PARTS
        for spec in (
            TensorSpec(
                f"blk.{{layer}}.ffn_{part}_exps.weight",
                ("experts", *shape),
                f"{LAYER}.mlp.experts.{source}",
                form=form,
            ),
            TensorSpec(
                f"blk.{{layer}}.ffn_{part}_exps.bias",
                ("experts", shape[0]),
                f"{LAYER}.mlp.experts.{source}_bias",
                form=bias_form,
            ),
        )
    ),
    *OUTPUT,
)
# What Hugging Face's class gives to the keys that a file leaves out.
DEFAULTS: Final[Mapping[str, object]] = {
    "head_dim": 64,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "sliding_window": 128,
}
SCALING: Final = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `gpt-oss`.

    The format does not say whether YaRN's borders are rounded; in these models they are not.
    """
    keys = ("gpt-oss.expert_count", "gpt-oss.expert_used_count")
    return {
        **decoder_from_gguf(FIELDS, metadata, tensor_names, "gpt-oss", truncated=False),
        **window_from_gguf(metadata, "gpt-oss", period=2),
        **experts_from(metadata, keys, "GGUF metadata"),
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `gpt_oss`."""
    config = {**DEFAULTS, **config}
    for key, known in {"swiglu_limit": 7.0, "swiglu_alpha": 1.702, "attention_bias": True}.items():
        if config.get(key, known) != known:
            raise refuse("config.json", "gpt_oss", f"{key} {config[key]!r}; it has {known}")
    if config.get("rope_parameters") is None and config.get("rope_scaling") is None:
        config["rope_scaling"] = SCALING
    return {
        **decoder_from_hugging_face(FIELDS, config, theta=150000.0),
        **window_from_layer_types(config, period=2),
        **experts_from(config, ("num_local_experts", "num_experts_per_tok"), "config.json"),
    }


GPT_OSS: Final = Family(
    name="gpt_oss",
    title="gpt-oss",
    fields=FIELDS,
    rules=(*RULES, EXPERTS),
    tensor_specs=TENSORS,
    unsupported_tensors={},
    gguf_architectures=("gpt-oss",),
    hugging_face_types=("gpt_oss",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "clamped_silu", "router": "sums to one"},
)
