"""The llama family: RMSNorm, rotary positions, grouped-query attention and a SwiGLU network.

It covers Llama 2 and 3 without scaled rotary positions, TinyLlama, SmolLM2, and Mistral where no
sliding window is smaller than the context. `spec/arch/llama.md` states the forward pass.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_count, read_flag, read_number
from refquant.errors import FormatError, UnsupportedError

__all__ = ["LLAMA"]

FIELDS: Final = (
    FieldSpec(
        "layers",
        "count",
        "how many blocks follow one another",
        gguf="llama.block_count",
        hugging_face="num_hidden_layers",
        maximum=4096,
    ),
    FieldSpec(
        "width",
        "count",
        "length of the vector that a token is",
        gguf="llama.embedding_length",
        hugging_face="hidden_size",
    ),
    FieldSpec(
        "heads",
        "count",
        "attention heads, each with queries of its own",
        gguf="llama.attention.head_count",
        hugging_face="num_attention_heads",
    ),
    FieldSpec(
        "key_value_heads",
        "count",
        "heads of keys and values, each shared by a group",
        gguf="llama.attention.head_count_kv",
        hugging_face="num_key_value_heads",
    ),
    FieldSpec(
        "head_width",
        "count",
        "length of one head's query, key and value",
        gguf="llama.attention.key_length",
        hugging_face="head_dim",
    ),
    FieldSpec(
        "feedforward_width",
        "count",
        "length of the gated vector inside the network",
        gguf="llama.feed_forward_length",
        hugging_face="intermediate_size",
    ),
    FieldSpec(
        "vocabulary",
        "count",
        "how many token ids there are",
        gguf="llama.vocab_size",
        hugging_face="vocab_size",
    ),
    FieldSpec(
        "context",
        "count",
        "how many positions the model was trained for",
        gguf="llama.context_length",
        hugging_face="max_position_embeddings",
    ),
    FieldSpec(
        "rope_theta",
        "number",
        "base of the rotation's wavelengths",
        gguf="llama.rope.freq_base",
        hugging_face="rope_theta",
    ),
    FieldSpec(
        "rope_style",
        "choice",
        "which two elements of a head rotate together: neighbours, or i and i + head_width / 2",
        choices=("interleaved", "halves"),
    ),
    FieldSpec(
        "norm_epsilon",
        "number",
        "added to the mean square before its root",
        gguf="llama.attention.layer_norm_rms_epsilon",
        hugging_face="rms_norm_eps",
    ),
    FieldSpec(
        "tied_embeddings",
        "flag",
        "true if the embedding is the output matrix as well",
        hugging_face="tie_word_embeddings",
    ),
)
GGUF: Final = {field.name: field.gguf for field in FIELDS}
HUGGING_FACE: Final = {field.name: field.hugging_face for field in FIELDS}

TENSORS: Final = (
    TensorSpec("token_embd.weight", ("vocabulary", "width"), "model.embed_tokens.weight"),
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
    TensorSpec("output_norm.weight", ("width",), "model.norm.weight"),
    TensorSpec(
        "output.weight", ("vocabulary", "width"), "lm_head.weight", absent_if="tied_embeddings"
    ),
)

UNSUPPORTED_TENSORS: Final = {
    "rope_freqs.weight": "rope_scaling (frequency factors of Llama 3.1 and later)",
    "blk.{layer}.attn_q.bias": "attention_bias",
    "blk.{layer}.attn_k.bias": "attention_bias",
    "blk.{layer}.attn_v.bias": "attention_bias",
    "blk.{layer}.attn_output.bias": "attention_bias",
    "blk.{layer}.attn_q_norm.weight": "normalised queries",
    "blk.{layer}.attn_k_norm.weight": "normalised keys",
    "blk.{layer}.ffn_gate.bias": "mlp_bias",
    "blk.{layer}.ffn_up.bias": "mlp_bias",
    "blk.{layer}.ffn_down.bias": "mlp_bias",
    "blk.{layer}.ffn_gate_inp.weight": "a mixture of experts",
}

# The defaults that the two formats document for keys a writer may leave out.
GGUF_ROPE_THETA: Final = 10000.0
HUGGING_FACE_ROPE_THETA: Final = 10000.0
HUGGING_FACE_NORM_EPSILON: Final = 1e-6
MISTRAL_DEFAULTS: Final = {"sliding_window": 4096, "num_key_value_heads": 8}


def from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file whose `general.architecture` is `llama`.

    Its query and key rows are permuted so that neighbours rotate together, and its output matrix
    is absent if the embedding does that work as well, which no metadata key says.
    """
    document = "GGUF metadata"
    _refuse_gguf_features(metadata, document)
    heads = read_count(metadata, GGUF["heads"], document)
    width = read_count(metadata, GGUF["width"], document)
    head_width = _head_width(metadata, GGUF["head_width"], document, width, heads)
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if read_count(metadata, key, document, default=head_width) != head_width:
            raise _refuse(document, f"{key} other than the head width {head_width}")
    return {
        "layers": read_count(metadata, GGUF["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": read_count(metadata, GGUF["key_value_heads"], document, default=heads),
        "head_width": head_width,
        "feedforward_width": read_count(metadata, GGUF["feedforward_width"], document),
        "vocabulary": _gguf_vocabulary(metadata, document),
        "context": read_count(metadata, GGUF["context"], document),
        "rope_theta": read_number(metadata, GGUF["rope_theta"], document, default=GGUF_ROPE_THETA),
        "rope_style": "interleaved",
        "norm_epsilon": read_number(metadata, GGUF["norm_epsilon"], document),
        "tied_embeddings": "output.weight" not in tensor_names,
    }


def from_hugging_face(config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` whose `model_type` is `llama` or `mistral`."""
    document = "config.json"
    # Mistral's own class gives other values than Llama's to the keys that a file leaves out.
    if config.get("model_type") == "mistral":
        config = {**MISTRAL_DEFAULTS, **config}
    _refuse_hugging_face_features(config, document)
    heads = read_count(config, HUGGING_FACE["heads"], document)
    width = read_count(config, HUGGING_FACE["width"], document)
    return {
        "layers": read_count(config, HUGGING_FACE["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": read_count(
            config, HUGGING_FACE["key_value_heads"], document, default=heads
        ),
        "head_width": _head_width(config, HUGGING_FACE["head_width"], document, width, heads),
        "feedforward_width": read_count(config, HUGGING_FACE["feedforward_width"], document),
        "vocabulary": read_count(config, HUGGING_FACE["vocabulary"], document),
        "context": read_count(config, HUGGING_FACE["context"], document),
        HUGGING_FACE["rope_theta"]: _hugging_face_rope_theta(config, document),
        "rope_style": "halves",
        "norm_epsilon": read_number(
            config, HUGGING_FACE["norm_epsilon"], document, default=HUGGING_FACE_NORM_EPSILON
        ),
        "tied_embeddings": read_flag(
            config, HUGGING_FACE["tied_embeddings"], document, default=False
        ),
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


def _gguf_vocabulary(metadata: Mapping[str, object], document: str) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    count = len(tokens) if isinstance(tokens, Sequence) and tokens else None
    return read_count(metadata, "llama.vocab_size", document, default=count)


def _hugging_face_rope_theta(config: Mapping[str, object], document: str) -> float:
    """`rope_theta` at the top, where it always was, or in `rope_parameters`, its newer place."""
    parameters = config.get("rope_parameters")
    nested = parameters if isinstance(parameters, Mapping) else {}
    fallback = read_number(
        nested, "rope_theta", f"{document}, rope_parameters", default=HUGGING_FACE_ROPE_THETA
    )
    return read_number(config, "rope_theta", document, default=fallback)


def _refuse(document: str, feature: str) -> UnsupportedError:
    return UnsupportedError(f"reading {document}: the llama runtime has no {feature}")


def _refuse_gguf_features(metadata: Mapping[str, object], document: str) -> None:
    scaling = metadata.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise _refuse(document, f"rope_scaling (llama.rope.scaling.type {scaling!r})")
    if metadata.get("llama.rope.scale_linear", 1.0) != 1.0:
        raise _refuse(document, "rope_scaling (llama.rope.scale_linear)")
    if metadata.get("llama.expert_count", 0) != 0:
        raise _refuse(document, "mixture of experts (llama.expert_count)")
    _refuse_window(metadata, "llama.attention.sliding_window", "llama.context_length", document)


def _refuse_hugging_face_features(config: Mapping[str, object], document: str) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        scaling = config.get(key)
        if isinstance(scaling, Mapping):
            scaling = scaling.get("rope_type", scaling.get("type", "default"))
        if scaling not in (None, "default"):
            raise _refuse(document, f"rope_scaling ({key} {scaling!r})")
    for key in ("attention_bias", "mlp_bias"):
        if read_flag(config, key, document, default=False):
            raise _refuse(document, key)
    if (activation := config.get("hidden_act", "silu")) not in ("silu", "swish"):
        raise _refuse(document, f"activation {activation!r} (hidden_act); it has silu")
    if (part := config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise _refuse(document, f"partial_rotary_factor {part!r}")
    _refuse_window(config, "sliding_window", "max_position_embeddings", document)


def _refuse_window(
    metadata: Mapping[str, object], key: str, context_key: str, document: str
) -> None:
    """A window as long as the context hides nothing, so only a smaller one is refused."""
    if metadata.get(key) in (None, 0):
        return
    window = read_count(metadata, key, document)
    if window < read_count(metadata, context_key, document):
        raise _refuse(document, f"sliding_window smaller than the context ({key} {window})")


def _is_grouped(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["heads"]) % int(fields["key_value_heads"]) == 0


def _has_pairs(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["head_width"]) % 2 == 0


LLAMA: Final = Family(
    name="llama",
    title="Llama 2 and 3, Mistral, TinyLlama, SmolLM2",
    fields=FIELDS,
    rules=(
        ("heads must be a multiple of key_value_heads", _is_grouped),
        ("head_width must be even, because elements rotate in pairs", _has_pairs),
    ),
    tensor_specs=TENSORS,
    unsupported_tensors=UNSUPPORTED_TENSORS,
    gguf_architectures=("llama",),
    hugging_face_types=("llama", "mistral"),
    ignored_hugging_face=(".self_attn.rotary_emb.inv_freq",),
    from_gguf=from_gguf,
    from_hugging_face=from_hugging_face,
)
