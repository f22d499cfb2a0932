"""The gpt2 family: LayerNorm, learned positions, biases everywhere, a GELU network.

`spec/arch/gpt2.md` states the forward pass. Hugging Face stores the four matrices of a layer as
[inputs, outputs]; readers turn them round, so that ours are [outputs, inputs] as everywhere.
"""

from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.decoder_fields import decoder_fields
from refquant.architectures.decoders import refuse, refuse_hugging_face
from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.layer_norms import WHOLE_HEADS, layer_norm, norm_epsilon
from refquant.architectures.metadata import count_tokens, read_count, read_flag, read_number

__all__ = ["GPT2"]

HUGGING_FACE: Final = {
    "layers": "n_layer",
    "width": "n_embd",
    "heads": "n_head",
    "feedforward_width": "n_inner",
    "vocabulary": "vocab_size",
    "context": "n_positions",
}
FIELDS: Final = (
    *(
        FieldSpec(
            spec.name,
            spec.kind,
            spec.meaning,
            gguf=spec.gguf,
            hugging_face=HUGGING_FACE[spec.name],
            maximum=spec.maximum,
        )
        for spec in decoder_fields("gpt2")
        if spec.name in HUGGING_FACE
    ),
    norm_epsilon("gpt2.attention.layer_norm_epsilon", "layer_norm_epsilon"),
    FieldSpec(
        "tied_embeddings",
        "flag",
        "true if the embedding is the output matrix as well",
        hugging_face="tie_word_embeddings",
    ),
)


def _with_bias(name: str, shape: tuple[str, str], hugging_face: str) -> tuple[TensorSpec, ...]:
    name, hugging_face = f"blk.{{layer}}.{name}", f"h.{{layer}}.{hugging_face}"
    return (
        TensorSpec(f"{name}.weight", shape, f"{hugging_face}.weight", form="transposed"),
        TensorSpec(f"{name}.bias", shape[:1], f"{hugging_face}.bias"),
    )


TENSORS: Final = (
    TensorSpec("token_embd.weight", ("vocabulary", "width"), "wte.weight"),
    TensorSpec("position_embd.weight", ("context", "width"), "wpe.weight"),
    *layer_norm("blk.{layer}.attn_norm", "h.{layer}.ln_1"),
    *_with_bias("attn_qkv", ("3 * width", "width"), "attn.c_attn"),
    *_with_bias("attn_output", ("width", "width"), "attn.c_proj"),
    *layer_norm("blk.{layer}.ffn_norm", "h.{layer}.ln_2"),
    *_with_bias("ffn_up", ("feedforward_width", "width"), "mlp.c_fc"),
    *_with_bias("ffn_down", ("width", "feedforward_width"), "mlp.c_proj"),
    *layer_norm("output_norm", "ln_f"),
    TensorSpec(
        "output.weight", ("vocabulary", "width"), "lm_head.weight", absent_if="tied_embeddings"
    ),
)


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `gpt2`."""
    document = "GGUF metadata"
    keys = {spec.name: spec.gguf for spec in FIELDS}
    counted = count_tokens(metadata)
    counts = {
        name: read_count(
            metadata, keys[name], document, default=counted if name == "vocabulary" else None
        )
        for name in HUGGING_FACE
    }
    return {
        **counts,
        "norm_epsilon": read_number(metadata, keys["norm_epsilon"], document),
        "tied_embeddings": "output.weight" not in tensor_names,
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `gpt2`."""
    document = "config.json"
    known = ("gelu_new", "gelu_pytorch_tanh")
    flags = ("scale_attn_by_inverse_layer_idx", "add_cross_attention")
    refuse_hugging_face(config, "gpt2", flags, {"activation_function": known})
    if not read_flag(config, "scale_attn_weights", document, default=True):
        raise refuse(document, "gpt2", "attention without a scale (scale_attn_weights)")
    width = read_count(config, "n_embd", document)
    counts = {
        name: read_count(
            config, key, document, default=4 * width if name == "feedforward_width" else None
        )
        for name, key in HUGGING_FACE.items()
    }
    return {
        **counts,
        "norm_epsilon": read_number(config, "layer_norm_epsilon", document, default=1e-5),
        "tied_embeddings": read_flag(config, "tie_word_embeddings", document, default=True),
    }


GPT2: Final = Family(
    name="gpt2",
    title="GPT-2",
    fields=FIELDS,
    rules=(WHOLE_HEADS,),
    tensor_specs=TENSORS,
    unsupported_tensors={},
    gguf_architectures=("gpt2",),
    hugging_face_types=("gpt2",),
    # Old files hold the causal mask of every layer.
    ignored_hugging_face=(".attn.bias", ".attn.masked_bias"),
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
    constants={"activation": "gelu_tanh"},
    hugging_face_prefix="transformer.",
)
