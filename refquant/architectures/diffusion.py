"""The Dream, LLaDA and SDAR families: weights of qwen2, llama and qwen3, read in both directions.

Their tokens are masked and filled in, several at a time. `spec/arch/diffusion.md` states which
positions see which, and the loop that fills them.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

from refquant.architectures.decoder_fields import RULES, decoder_fields
from refquant.architectures.decoder_tensors import (
    ATTENTION,
    EMBEDDING,
    GATED,
    IGNORED_HUGGING_FACE,
    OUTPUT,
    QUERY_KEY_NORMS,
    QUERY_KEY_VALUE_BIASES,
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse_hugging_face,
)
from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_count
from refquant.errors import UnsupportedError

__all__ = ["DREAM", "LLADA", "SDAR"]

# The mask's id in the published models, for files that do not state it.
MASKS: Final = {"dream": 151666, "llada": 126336, "sdar": 151669}


def diffusion_fields(arch: str) -> tuple[FieldSpec, ...]:
    """A decoder's fields and the mask's id."""
    return (
        *decoder_fields(arch),
        FieldSpec(
            "mask_token",
            "count",
            "the id that stands for a token not yet chosen",
            gguf="tokenizer.ggml.mask_token_id",
            hugging_face="mask_token_id",
        ),
    )


BLOCK: Final = FieldSpec(
    "block_length",
    "count",
    "positions of a block, which see each other and all earlier blocks",
    hugging_face="block_size",
)
FIELDS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {
    "dream": diffusion_fields("dream"),
    "llada": diffusion_fields("llada"),
    "sdar": (*diffusion_fields("sdar"), BLOCK),
}
SDAR_DEFAULTS: Final = {"head_dim": 128, "block_size": 4}

# LLaDA's own keys and the ones that the others use.
LLADA_KEYS: Final = {
    "n_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "mlp_hidden_size": "intermediate_size",
    "embedding_size": "vocab_size",
    "max_sequence_length": "max_position_embeddings",
    "weight_tying": "tie_word_embeddings",
}
LLADA_NAMES: Final = {
    "token_embd.weight": "model.transformer.wte.weight",
    "blk.{layer}.attn_norm.weight": "model.transformer.blocks.{layer}.attn_norm.weight",
    "blk.{layer}.attn_q.weight": "model.transformer.blocks.{layer}.q_proj.weight",
    "blk.{layer}.attn_k.weight": "model.transformer.blocks.{layer}.k_proj.weight",
    "blk.{layer}.attn_v.weight": "model.transformer.blocks.{layer}.v_proj.weight",
    "blk.{layer}.attn_output.weight": "model.transformer.blocks.{layer}.attn_out.weight",
    "blk.{layer}.ffn_norm.weight": "model.transformer.blocks.{layer}.ff_norm.weight",
    "blk.{layer}.ffn_gate.weight": "model.transformer.blocks.{layer}.ff_proj.weight",
    "blk.{layer}.ffn_up.weight": "model.transformer.blocks.{layer}.up_proj.weight",
    "blk.{layer}.ffn_down.weight": "model.transformer.blocks.{layer}.ff_out.weight",
    "output_norm.weight": "model.transformer.ln_f.weight",
    "output.weight": "model.transformer.ff_out.weight",
}


def from_gguf(
    family: str, metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file of this architecture, `dream` or `llada`."""
    mask = "tokenizer.ggml.mask_token_id"
    return {
        **decoder_from_gguf(
            FIELDS[family],
            metadata,
            tensor_names,
            family,
            rope_style="interleaved" if family == "llada" else "halves",
        ),
        "mask_token": read_count(metadata, mask, "GGUF metadata", default=MASKS[family]),
    }


def from_hugging_face(family: str, config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` of this family's `model_type`."""
    document = "config.json"
    if family == "llada":
        config = _llada(config)
    if family == "sdar":
        config = {**SDAR_DEFAULTS, **config}
    refuse_hugging_face(
        config,
        family,
        ("use_sliding_window", "include_bias", "include_qkv_bias", "alibi"),
        {"hidden_act": ("silu", "swish"), "block_type": ("llama",), "layer_norm_type": ("rms",)},
    )
    mask = read_count(config, "mask_token_id", document, default=MASKS[family])
    fields = decoder_from_hugging_face(FIELDS[family], config) | {"mask_token": mask}
    if family == "sdar":
        fields["block_length"] = read_count(config, "block_size", document)
    return fields


def _llada(config: Mapping[str, object]) -> dict[str, object]:
    """The configuration under the keys of the others; absent and null keys stay absent."""
    renamed = {
        LLADA_KEYS.get(key, key): value for key, value in config.items() if value is not None
    }
    # The embedding may have more rows than the tokenizer has ids, and this key counts them.
    if config.get("embedding_size") is not None:
        renamed["vocab_size"] = config["embedding_size"]
    return {"rms_norm_eps": 1e-5, **renamed}


def _gguf_refused(
    metadata: Mapping[str, object],  # noqa: ARG001  (every family's reader is given them)
    tensor_names: Collection[str],  # noqa: ARG001
) -> dict[str, FieldValue]:
    raise UnsupportedError("no GGUF architecture stands for SDAR")


def _named(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(dataclasses.replace(spec, hugging_face=LLADA_NAMES[spec.name]) for spec in specs)


def _sees_the_mask(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["mask_token"]) < int(fields["vocabulary"])


SHARED: Final = (*RULES, ("mask_token must be an id of the vocabulary", _sees_the_mask))
LLAMA_TENSORS: Final = (EMBEDDING, *ATTENTION, *GATED, *OUTPUT)

DREAM: Final = Family(
    name="dream",
    title="Dream",
    fields=FIELDS["dream"],
    rules=SHARED,
    tensor_specs=(EMBEDDING, *ATTENTION, *QUERY_KEY_VALUE_BIASES, *GATED, *OUTPUT),
    unsupported_tensors={"output.bias": "a bias of the output matrix"},
    gguf_architectures=("dream",),
    hugging_face_types=("Dream", "dream"),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=partial(from_gguf, "dream"),
    from_hugging_face=partial(from_hugging_face, "dream"),
    constants={"activation": "silu", "sight": "all", "shifted_logits": True},
)
LLADA: Final = Family(
    name="llada",
    title="LLaDA",
    fields=FIELDS["llada"],
    rules=SHARED,
    tensor_specs=_named(LLAMA_TENSORS),
    unsupported_tensors={
        "blk.{layer}.attn_output.bias": "attention_bias",
        "blk.{layer}.ffn_up.bias": "mlp_bias",
        "rope_freqs.weight": "divided frequencies",
    },
    gguf_architectures=("llada",),
    hugging_face_types=("llada",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=partial(from_gguf, "llada"),
    from_hugging_face=partial(from_hugging_face, "llada"),
    constants={"activation": "silu", "sight": "all", "shifted_logits": False},
)
SDAR: Final = Family(
    name="sdar",
    title="SDAR",
    fields=FIELDS["sdar"],
    rules=SHARED,
    tensor_specs=(EMBEDDING, *ATTENTION, *QUERY_KEY_NORMS, *GATED, *OUTPUT),
    unsupported_tensors={},
    gguf_architectures=(),
    hugging_face_types=("sdar",),
    ignored_hugging_face=IGNORED_HUGGING_FACE,
    from_gguf=_gguf_refused,
    from_hugging_face=partial(from_hugging_face, "sdar"),
    constants={"activation": "silu", "sight": "blocks", "shifted_logits": False},
)
