"""The qwen2 family: a llama whose queries, keys and values have biases.

`spec/arch/qwen2.md` states the difference.
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
    QUERY_KEY_VALUE_BIASES,
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse_hugging_face,
)
from refquant.architectures.family import Family, FieldValue

__all__ = ["QWEN2"]

FIELDS: Final = decoder_fields("qwen2")
UNSUPPORTED_TENSORS: Final = {"output.bias": "a bias of the output matrix"}


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `qwen2`."""
    return decoder_from_gguf(FIELDS, metadata, tensor_names, "qwen2")


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `qwen2`."""
    refuse_hugging_face(config, "qwen2", ("use_sliding_window",), {"hidden_act": ("silu", "swish")})
    return decoder_from_hugging_face(FIELDS, config)


QWEN2: Final = Family(
    name="qwen2",
    title="Qwen2 and Qwen2.5",
    fields=FIELDS,
    rules=RULES,
    tensor_specs=(EMBEDDING, *ATTENTION, *QUERY_KEY_VALUE_BIASES, *GATED, *OUTPUT),
    unsupported_tensors=UNSUPPORTED_TENSORS,
    gguf_architectures=("qwen2",),
    hugging_face_types=("qwen2",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "silu"},
)
