"""The phi3 family: a llama whose queries, keys and values, and gate and up, are one matrix each.

`spec/arch/phi3.md` states the difference.
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
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse_hugging_face,
)
from refquant.architectures.family import Family, FieldValue, TensorSpec
from refquant.architectures.windows import (
    window_fields,
    window_from_gguf,
    window_from_layer_types,
)

__all__ = ["PHI3"]

FIELDS: Final = (*decoder_fields("phi3"), *window_fields("phi3"))
LONGROPE: Final = "rope_scaling of type longrope"


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `phi3`."""
    return {
        **decoder_from_gguf(FIELDS, metadata, tensor_names, "phi3"),
        **window_from_gguf(metadata, "phi3", period=None),
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `phi3`."""
    refuse_hugging_face(config, "phi3", activations={"hidden_act": ("silu", "swish")})
    config = {"rms_norm_eps": 1e-5, **config}
    return {
        **decoder_from_hugging_face(FIELDS, config),
        **window_from_layer_types(config, period=None),
    }


PHI3: Final = Family(
    name="phi3",
    title="Phi-3 and Phi-4 without long contexts",
    fields=FIELDS,
    rules=RULES,
    tensor_specs=(
        EMBEDDING,
        ATTENTION[0],
        TensorSpec(
            "blk.{layer}.attn_qkv.weight",
            ("heads * head_width + 2 * key_value_heads * head_width", "width"),
            "model.layers.{layer}.self_attn.qkv_proj.weight",
        ),
        ATTENTION[-1],
        GATED[0],
        TensorSpec(
            "blk.{layer}.ffn_up.weight",
            ("2 * feedforward_width", "width"),
            "model.layers.{layer}.mlp.gate_up_proj.weight",
        ),
        GATED[-1],
        *OUTPUT,
    ),
    unsupported_tensors={
        "rope_factors_long.weight": LONGROPE,
        "rope_factors_short.weight": LONGROPE,
        "blk.{layer}.ffn_gate_inp.weight": "a mixture of experts",
    },
    gguf_architectures=("phi3",),
    hugging_face_types=("phi3",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "silu", "gate": "in up"},
)
