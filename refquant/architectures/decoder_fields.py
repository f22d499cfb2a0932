"""The fields that decoder families share, and the rules between them."""

from collections.abc import Callable, Mapping
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue
from refquant.architectures.rotary_fields import ROPE_FIELDS, has_scaling
from refquant.architectures.windows import has_window

__all__ = ["RULES", "decoder_fields"]

BLOCK_SIZES: Final = (
    FieldSpec(
        "layers",
        "count",
        "how many blocks follow one another",
        gguf="{arch}.block_count",
        hugging_face="num_hidden_layers",
        maximum=4096,
    ),
    FieldSpec(
        "width",
        "count",
        "length of the vector that a token is",
        gguf="{arch}.embedding_length",
        hugging_face="hidden_size",
    ),
    FieldSpec(
        "heads",
        "count",
        "attention heads, each with queries of its own",
        gguf="{arch}.attention.head_count",
        hugging_face="num_attention_heads",
    ),
    FieldSpec(
        "key_value_heads",
        "count",
        "heads of keys and values, each shared by a group",
        gguf="{arch}.attention.head_count_kv",
        hugging_face="num_key_value_heads",
    ),
    FieldSpec(
        "head_width",
        "count",
        "length of one head's query, key and value",
        gguf="{arch}.attention.key_length",
        hugging_face="head_dim",
    ),
)
TEXT_SIZES: Final = (
    FieldSpec(
        "vocabulary",
        "count",
        "how many token ids there are",
        gguf="{arch}.vocab_size",
        hugging_face="vocab_size",
    ),
    FieldSpec(
        "context",
        "count",
        "how many positions the model was trained for",
        gguf="{arch}.context_length",
        hugging_face="max_position_embeddings",
    ),
)
NORM_EPSILON: Final = FieldSpec(
    "norm_epsilon",
    "number",
    "added to the mean square before its root",
    gguf="{arch}.attention.layer_norm_rms_epsilon",
    hugging_face="rms_norm_eps",
)
TIED_EMBEDDINGS: Final = FieldSpec(
    "tied_embeddings",
    "flag",
    "true if the embedding is the output matrix as well",
    hugging_face="tie_word_embeddings",
)


def decoder_fields(
    arch: str, feedforward: tuple[str, str] = ("feed_forward_length", "intermediate_size")
) -> tuple[FieldSpec, ...]:
    """The fields of every decoder, for a GGUF architecture of this name.

    `feedforward` is what GGUF and Hugging Face call the network's width in this family.
    """
    network = FieldSpec(
        "feedforward_width",
        "count",
        "length of the gated vector inside the network",
        gguf=f"{{arch}}.{feedforward[0]}",
        hugging_face=feedforward[1],
    )
    ends = (NORM_EPSILON, TIED_EMBEDDINGS)
    specs = (*BLOCK_SIZES, network, *TEXT_SIZES, *ROPE_FIELDS, *ends)
    return tuple(spec.of(arch) for spec in specs)


def _is_grouped(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["heads"]) % int(fields["key_value_heads"]) == 0


def _has_pairs(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["head_width"]) % 2 == 0


RULES: Final[tuple[tuple[str, Callable[[Mapping[str, FieldValue]], bool]], ...]] = (
    ("heads must be a multiple of key_value_heads", _is_grouped),
    ("head_width must be even, because elements rotate in pairs", _has_pairs),
    ("the fields of rope_scaling must be those that its value needs", has_scaling),
    ("window_period stands beside a window", has_window),
)
