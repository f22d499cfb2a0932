"""The qwen3 family: a llama whose queries and keys are normalised head by head.

`spec/arch/qwen3.md` states the difference.
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
    refuse_hugging_face,
)
from refquant.architectures.family import Family, FieldValue

__all__ = ["QWEN3"]

FIELDS: Final = decoder_fields("qwen3")
# What Hugging Face's class gives to the keys that a file leaves out.
DEFAULTS: Final = {"head_dim": 128, "num_key_value_heads": 32}


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `qwen3`."""
    return decoder_from_gguf(FIELDS, metadata, tensor_names, "qwen3")


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `qwen3`."""
    flags = ("use_sliding_window", "attention_bias")
    refuse_hugging_face(config, "qwen3", flags, {"hidden_act": ("silu", "swish")})
    return decoder_from_hugging_face(FIELDS, {**DEFAULTS, **config})


QWEN3: Final = Family(
    name="qwen3",
    title="Qwen3",
    fields=FIELDS,
    rules=RULES,
    tensor_specs=(EMBEDDING, *ATTENTION, *QUERY_KEY_NORMS, *GATED, *OUTPUT),
    unsupported_tensors={},
    gguf_architectures=("qwen3",),
    hugging_face_types=("qwen3",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "silu"},
)
