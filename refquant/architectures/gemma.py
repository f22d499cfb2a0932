"""The Gemma 2 and 3 families: norms on both sides of each part, windows, soft caps or query norms.

`spec/arch/gemma2.md` and `spec/arch/gemma3.md` state the forward passes. Hugging Face stores every
norm's weight less one, GGUF does not; both are carried as they are, and a field tells.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
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
)
from refquant.architectures.decoders import (
    decoder_from_gguf,
    decoder_from_hugging_face,
    refuse_hugging_face,
)
from refquant.architectures.family import Family, FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_number
from refquant.architectures.windows import (
    window_fields,
    window_from_gguf,
    window_from_layer_types,
)
from refquant.errors import UnsupportedError

__all__ = ["GEMMA2", "GEMMA3"]

LARGEST: Final = {"gemma2": 46, "gemma3": 62}
"""Layers of the 27B models, whose scores GGUF files scale by width / heads without saying so."""


def gemma_fields(arch: str) -> tuple[FieldSpec, ...]:
    """The fields that both families have."""
    return (
        *decoder_fields(arch),
        *window_fields(arch),
        FieldSpec(
            "score_divisor",
            "number",
            "queries are divided by its square root",
            hugging_face="query_pre_attn_scalar",
        ),
        FieldSpec(
            "norms_less_one",
            "flag",
            "true if the weights of norms are stored less one",
        ),
        FieldSpec(
            "logit_soft_cap",
            "number",
            "logits x become c tanh(x / c)",
            gguf=f"{arch}.final_logit_softcapping",
            hugging_face="final_logit_softcapping",
            optional=True,
        ),
    )


GEMMA2_FIELDS: Final = (
    *gemma_fields("gemma2"),
    FieldSpec(
        "score_soft_cap",
        "number",
        "scores x become c tanh(x / c)",
        gguf="gemma2.attn_logit_softcapping",
        hugging_face="attn_logit_softcapping",
        optional=True,
    ),
)
GEMMA3_FIELDS: Final = (
    *gemma_fields("gemma3"),
    FieldSpec(
        "rope_theta_windowed",
        "number",
        "base of the wavelengths in windowed layers, which are never scaled",
        gguf="gemma3.rope.freq_base_swa",
        hugging_face="rope_local_base_freq",
        optional=True,
    ),
)

# Hugging Face keeps the name of llama's second norm for another place, after attention.
NORMS: Final = (
    TensorSpec(
        "blk.{layer}.post_attention_norm.weight",
        ("width",),
        "model.layers.{layer}.post_attention_layernorm.weight",
    ),
    TensorSpec(
        "blk.{layer}.post_ffw_norm.weight",
        ("width",),
        "model.layers.{layer}.post_feedforward_layernorm.weight",
    ),
)
NETWORK: Final = (
    dataclasses.replace(
        GATED[0], hugging_face="model.layers.{layer}.pre_feedforward_layernorm.weight"
    ),
    *GATED[1:],
)
CONSTANTS: Final = {"activation": "gelu_tanh", "embedding_scale": "root of width"}
# Each family's soft caps, and what Hugging Face's class gives to one that a file leaves out.
CAPS: Final[Mapping[str, Mapping[str, float | None]]] = {
    "gemma2": {"logit_soft_cap": 30.0, "score_soft_cap": 50.0},
    "gemma3": {"logit_soft_cap": None},
}


def from_gguf(
    family: str, metadata: Mapping[str, object], tensor_names: Collection[str]
) -> dict[str, FieldValue]:
    """The fields of a GGUF file of this architecture."""
    specs = FIELDS[family]
    fields = decoder_from_gguf(specs, metadata, tensor_names, family)
    large = fields["layers"] == LARGEST[family]
    divisor = int(fields["width"]) // int(fields["heads"]) if large else fields["head_width"]
    fields |= window_from_gguf(metadata, family, period=2 if family == "gemma2" else 6)
    fields |= {"score_divisor": float(divisor), "norms_less_one": False}
    fields |= _caps(family, metadata, {spec.name: spec.gguf for spec in specs}, "GGUF metadata")
    if family == "gemma3" and "window" in fields:
        key = "gemma3.rope.freq_base_swa"
        fields["rope_theta_windowed"] = read_number(metadata, key, "GGUF metadata", default=10000.0)
    return fields


def from_hugging_face(family: str, config: Mapping[str, object]) -> dict[str, FieldValue]:
    """The fields of a `config.json` of this `model_type`, `gemma3_text` for gemma3."""
    _refuse(family, config)
    specs, document = FIELDS[family], "config.json"
    period = config.get("sliding_window_pattern", 6) if family == "gemma3" else 2
    defaults = {"head_dim": 256, "num_key_value_heads": 4}
    config, local = _split_rope({**defaults, **config})
    fields = decoder_from_hugging_face(
        specs, config, theta=1e6 if family == "gemma3" else 10000.0, tied=True
    )
    fields |= window_from_layer_types(
        config, period=period if type(period) is int else None, window=4096
    )
    fields["score_divisor"] = read_number(config, "query_pre_attn_scalar", document, default=256.0)
    fields["norms_less_one"] = True
    fields |= _caps(family, config, {spec.name: spec.hugging_face for spec in specs}, document)
    if family == "gemma3" and "window" in fields:
        key = "rope_local_base_freq"
        fields["rope_theta_windowed"] = read_number(
            config,
            key,
            document,
            default=read_number(local, "rope_theta", document, default=10000.0),
        )
    return fields


def _refuse(family: str, config: Mapping[str, object]) -> None:
    if "text_config" in config:
        raise UnsupportedError(
            "reading config.json: this is Gemma 3 with vision; only models of text "
            "(model_type gemma3_text) can run"
        )
    known = ("gelu_pytorch_tanh", "gelu_new")
    flags = ("attention_bias", "use_bidirectional_attention")
    # Old files of Gemma 2 state hidden_act beside it, which no implementation heeds.
    refuse_hugging_face(config, family, flags, {"hidden_activation": known})
    if config.get("attn_logit_softcapping") is not None and family == "gemma3":
        raise UnsupportedError("reading config.json: gemma3 has no attn_logit_softcapping here")


def _split_rope(
    config: Mapping[str, object],
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The configuration with the full layers' `rope_parameters`, and the windowed layers'."""
    both = config.get("rope_parameters")
    if not isinstance(both, Mapping) or "full_attention" not in both:
        return config, {}
    local = both.get("sliding_attention")
    return (
        {**config, "rope_parameters": both["full_attention"]},
        local if isinstance(local, Mapping) else {},
    )


def _caps(
    family: str, metadata: Mapping[str, object], keys: Mapping[str, str], document: str
) -> dict[str, FieldValue]:
    """The soft caps that a file states; only a missing key has a default, null means none."""
    found: dict[str, FieldValue] = {}
    for name, default in CAPS[family].items():
        stated = metadata.get(keys[name], default)
        if stated is not None and stated != 0.0:
            found[name] = read_number({keys[name]: stated}, keys[name], document)
    return found


def _family(name: str, title: str, types: tuple[str, ...], norms: tuple[TensorSpec, ...]) -> Family:
    reader: Callable[[Mapping[str, object], Collection[str]], dict[str, FieldValue]]
    reader = partial(from_gguf, name)
    return Family(
        name=name,
        title=title,
        fields=FIELDS[name],
        rules=RULES,
        tensor_specs=(EMBEDDING, *ATTENTION, *norms, NORMS[0], *NETWORK, NORMS[1], *OUTPUT),
        unsupported_tensors={"dense_2.weight": "an embedding head"},
        gguf_architectures=(name,),
        hugging_face_types=types,
        ignored_hugging_face=IGNORED_HUGGING_FACE,
        from_gguf=reader,
        from_hugging_face=partial(from_hugging_face, name),
        constants=CONSTANTS,
    )


FIELDS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {
    "gemma2": GEMMA2_FIELDS,
    "gemma3": GEMMA3_FIELDS,
}
GEMMA2: Final = _family("gemma2", "Gemma 2", ("gemma2",), ())
GEMMA3: Final = _family("gemma3", "Gemma 3, text only", ("gemma3_text", "gemma3"), QUERY_KEY_NORMS)
