"""What decoder families share: fields, tensors, and how the two other formats spell the fields.

A decoder here is a stack of blocks, each attention and a gated network, with rotary positions and
RMS normalisation. A family's file says which of these parts its models have.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_count, read_flag, read_number
from refquant.architectures.rotary import (
    has_scaling,
    rope_fields,
    rope_from_gguf,
    rope_from_hugging_face,
)
from refquant.architectures.windows import has_window
from refquant.errors import FormatError, UnsupportedError

__all__ = [
    "ATTENTION",
    "EMBEDDING",
    "GATED",
    "IGNORED_HUGGING_FACE",
    "OUTPUT",
    "QUERY_KEY_NORMS",
    "QUERY_KEY_VALUE_BIASES",
    "RULES",
    "decoder_fields",
    "decoder_from_gguf",
    "decoder_from_hugging_face",
    "query_key_value_biases",
    "refuse",
    "refuse_hugging_face",
]

# The default that Hugging Face's classes share for a key that a file may leave out.
NORM_EPSILON: Final = 1e-6


def decoder_fields(
    arch: str, feedforward: tuple[str, str] = ("feed_forward_length", "intermediate_size")
) -> tuple[FieldSpec, ...]:
    """The fields of every decoder, for a GGUF architecture of this name.

    `feedforward` is what GGUF and Hugging Face call the network's width in this family.
    """
    return (
        FieldSpec(
            "layers",
            "count",
            "how many blocks follow one another",
            gguf=f"{arch}.block_count",
            hugging_face="num_hidden_layers",
            maximum=4096,
        ),
        FieldSpec(
            "width",
            "count",
            "length of the vector that a token is",
            gguf=f"{arch}.embedding_length",
            hugging_face="hidden_size",
        ),
        FieldSpec(
            "heads",
            "count",
            "attention heads, each with queries of its own",
            gguf=f"{arch}.attention.head_count",
            hugging_face="num_attention_heads",
        ),
        FieldSpec(
            "key_value_heads",
            "count",
            "heads of keys and values, each shared by a group",
            gguf=f"{arch}.attention.head_count_kv",
            hugging_face="num_key_value_heads",
        ),
        FieldSpec(
            "head_width",
            "count",
            "length of one head's query, key and value",
            gguf=f"{arch}.attention.key_length",
            hugging_face="head_dim",
        ),
        FieldSpec(
            "feedforward_width",
            "count",
            "length of the gated vector inside the network",
            gguf=f"{arch}.{feedforward[0]}",
            hugging_face=feedforward[1],
        ),
        FieldSpec(
            "vocabulary",
            "count",
            "how many token ids there are",
            gguf=f"{arch}.vocab_size",
            hugging_face="vocab_size",
        ),
        FieldSpec(
            "context",
            "count",
            "how many positions the model was trained for",
            gguf=f"{arch}.context_length",
            hugging_face="max_position_embeddings",
        ),
        *rope_fields(arch),
        FieldSpec(
            "norm_epsilon",
            "number",
            "added to the mean square before its root",
            gguf=f"{arch}.attention.layer_norm_rms_epsilon",
            hugging_face="rms_norm_eps",
        ),
        FieldSpec(
            "tied_embeddings",
            "flag",
            "true if the embedding is the output matrix as well",
            hugging_face="tie_word_embeddings",
        ),
    )


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


def decoder_from_gguf(
    specs: Sequence[FieldSpec],
    metadata: Mapping[str, object],
    tensor_names: Collection[str],
    arch: str,
    *,
    rope_style: str = "halves",
    truncated: bool = True,
) -> dict[str, FieldValue]:
    """The fields that all decoders share, under the keys of `specs`, out of a GGUF file.

    The output matrix is absent if the embedding does that work as well, which no key says.
    """
    document = "GGUF metadata"
    gguf = {field.name: field.gguf for field in specs}
    heads = read_count(metadata, gguf["heads"], document)
    width = read_count(metadata, gguf["width"], document)
    head_width = _head_width(metadata, gguf["head_width"], document, width, heads)
    for key in (f"{arch}.attention.value_length", f"{arch}.rope.dimension_count"):
        if read_count(metadata, key, document, default=head_width) != head_width:
            raise refuse(document, arch, f"{key} other than the head width {head_width}")
    tokens = metadata.get("tokenizer.ggml.tokens")
    counted = len(tokens) if isinstance(tokens, Sequence) and tokens else None
    return {
        "layers": read_count(metadata, gguf["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": read_count(metadata, gguf["key_value_heads"], document, default=heads),
        "head_width": head_width,
        "feedforward_width": read_count(metadata, gguf["feedforward_width"], document),
        "vocabulary": read_count(metadata, gguf["vocabulary"], document, default=counted),
        "context": read_count(metadata, gguf["context"], document),
        **rope_from_gguf(metadata, tensor_names, arch, truncated=truncated),
        "rope_style": rope_style,
        "norm_epsilon": read_number(metadata, gguf["norm_epsilon"], document),
        "tied_embeddings": "output.weight" not in tensor_names,
    }


def decoder_from_hugging_face(
    specs: Sequence[FieldSpec],
    config: Mapping[str, object],
    *,
    theta: float = 10000.0,
    tied: bool = False,
) -> dict[str, FieldValue]:
    """The same out of a `config.json`; `theta` and `tied` are the class's own defaults."""
    document = "config.json"
    spelled = {field.name: field.hugging_face for field in specs}
    heads = read_count(config, spelled["heads"], document)
    width = read_count(config, spelled["width"], document)
    key_value_heads = read_count(config, spelled["key_value_heads"], document, default=heads)
    return {
        "layers": read_count(config, spelled["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": key_value_heads,
        "head_width": _head_width(config, spelled["head_width"], document, width, heads),
        "feedforward_width": read_count(config, spelled["feedforward_width"], document),
        "vocabulary": read_count(config, spelled["vocabulary"], document),
        "context": read_count(config, spelled["context"], document),
        **rope_from_hugging_face(config, theta=theta),
        "rope_style": "halves",
        "norm_epsilon": read_number(
            config, spelled["norm_epsilon"], document, default=NORM_EPSILON
        ),
        "tied_embeddings": read_flag(config, spelled["tied_embeddings"], document, default=tied),
    }


def _head_width(
    metadata: Mapping[str, object], key: str, document: str, width: int, heads: int
) -> int:
    """The stated head width; both formats mean width / heads if they leave it out."""
    if metadata.get(key) is None and width % heads:
        raise FormatError(
            "E_ARCH_METADATA",
            f"{key} is missing and the width {width} is not a multiple of {heads} heads",
            where=document,
        )
    return read_count(metadata, key, document, default=max(1, width // heads))


def refuse(document: str, family: str, feature: str) -> UnsupportedError:
    """The error for a feature that the family's runtime does not have."""
    return UnsupportedError(f"reading {document}: the {family} runtime has no {feature}")


def refuse_hugging_face(
    config: Mapping[str, object],
    family: str,
    flags: Collection[str] = (),
    activations: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Raise UnsupportedError for a flag that is set, or an activation that is not among these."""
    for key in flags:
        if read_flag(config, key, "config.json", default=False):
            raise refuse("config.json", family, key)
    for key, known in (activations or {}).items():
        found = config.get(key)
        if found is not None and found not in known:
            has = next(iter(known))
            raise refuse("config.json", family, f"activation {found!r} ({key}); it has {has}")
