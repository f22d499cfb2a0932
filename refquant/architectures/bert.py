"""The bert family: encoders that turn a text into vectors, every token seeing all others.

`spec/arch/bert.md` states the forward pass. What files hold behind the last layer (a pooler, heads
for training) is not read: it has no part in embeddings.
"""

from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.decoder_fields import decoder_fields
from refquant.architectures.decoders import refuse, refuse_hugging_face
from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.layer_norms import WHOLE_HEADS, layer_norm, norm_epsilon
from refquant.architectures.metadata import count_tokens, read_count, read_number

__all__ = ["BERT"]

COUNTS: Final = ("layers", "width", "heads", "feedforward_width", "vocabulary", "context")
# GGUF's numbers for the ways of pooling.
POOLINGS: Final[Mapping[object, str]] = {0: "none", 1: "mean", 2: "first"}

FIELDS: Final = (
    *(spec for spec in decoder_fields("bert") if spec.name in COUNTS),
    FieldSpec(
        "token_types",
        "count",
        "kinds of tokens, of which texts are the first",
        gguf="tokenizer.ggml.token_type_count",
        hugging_face="type_vocab_size",
    ),
    norm_epsilon("bert.attention.layer_norm_epsilon", "layer_norm_eps"),
    FieldSpec(
        "pooling",
        "choice",
        "which vector stands for the whole text: the mean of all, or the first one",
        gguf="bert.pooling_type",
        choices=("none", "mean", "first"),
    ),
)


def _with_bias(name: str, shape: tuple[str, str], hugging_face: str) -> tuple[TensorSpec, ...]:
    name, hugging_face = f"blk.{{layer}}.{name}", f"encoder.layer.{{layer}}.{hugging_face}"
    return (
        TensorSpec(f"{name}.weight", shape, f"{hugging_face}.weight"),
        TensorSpec(f"{name}.bias", shape[:1], f"{hugging_face}.bias"),
    )


LAYER: Final = "encoder.layer.{layer}"
TENSORS: Final = (
    TensorSpec("token_embd.weight", ("vocabulary", "width"), "embeddings.word_embeddings.weight"),
    TensorSpec(
        "position_embd.weight", ("context", "width"), "embeddings.position_embeddings.weight"
    ),
    TensorSpec(
        "token_types.weight", ("token_types", "width"), "embeddings.token_type_embeddings.weight"
    ),
    *layer_norm("token_embd_norm", "embeddings.LayerNorm"),
    *_with_bias("attn_q", ("width", "width"), "attention.self.query"),
    *_with_bias("attn_k", ("width", "width"), "attention.self.key"),
    *_with_bias("attn_v", ("width", "width"), "attention.self.value"),
    *_with_bias("attn_output", ("width", "width"), "attention.output.dense"),
    *layer_norm("blk.{layer}.attn_output_norm", f"{LAYER}.attention.output.LayerNorm"),
    *_with_bias("ffn_up", ("feedforward_width", "width"), "intermediate.dense"),
    *_with_bias("ffn_down", ("width", "feedforward_width"), "output.dense"),
    *layer_norm("blk.{layer}.layer_output_norm", f"{LAYER}.output.LayerNorm"),
)


def from_gguf(
    metadata: Mapping[str, object],
    tensor_names: Collection[str],  # noqa: ARG001  (every family's reader is given them)
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `bert`."""
    document = "GGUF metadata"
    keys = {spec.name: spec.gguf for spec in FIELDS}
    defaults = {"vocabulary": count_tokens(metadata)}
    counts = {
        name: read_count(metadata, keys[name], document, default=defaults.get(name))
        for name in (*COUNTS, "token_types")
    }
    pooling = metadata.get("bert.pooling_type", 0)
    if pooling not in POOLINGS:
        raise refuse(document, "bert", f"pooling of kind {pooling!r} (bert.pooling_type)")
    return {
        **counts,
        "norm_epsilon": read_number(metadata, keys["norm_epsilon"], document),
        "pooling": POOLINGS[pooling],
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `bert`.

    Which pooling a model was trained for stands in another file; the mean is what most take.
    """
    document = "config.json"
    refuse_hugging_face(
        config, "bert", ("is_decoder", "add_cross_attention"), {"hidden_act": ("gelu",)}
    )
    if (kind := config.get("position_embedding_type", "absolute")) != "absolute":
        raise refuse(document, "bert", f"position_embedding_type {kind!r}")
    keys = {spec.name: spec.hugging_face for spec in FIELDS}
    return {
        **{name: read_count(config, keys[name], document) for name in COUNTS},
        "token_types": read_count(config, keys["token_types"], document, default=2),
        "norm_epsilon": read_number(config, keys["norm_epsilon"], document, default=1e-12),
        "pooling": "mean",
    }


BERT: Final = Family(
    name="bert",
    title="BERT, and sentence encoders of its shape",
    fields=FIELDS,
    rules=(WHOLE_HEADS,),
    tensor_specs=TENSORS,
    unsupported_tensors={
        "cls.weight": "a classifier",
        "cls.output.weight": "a classifier",
        "blk.{layer}.attn_q_norm.weight": "normalised queries",
    },
    gguf_architectures=("bert",),
    hugging_face_types=("bert",),
    ignored_hugging_face=(
        "embeddings.position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        "cls.predictions.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "gelu"},
    hugging_face_prefix="bert.",
)
