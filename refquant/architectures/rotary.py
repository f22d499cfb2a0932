"""Rotary positions read out of both formats: the base, and how long contexts stretch wavelengths.

Whatever a file asks for that `rotary_fields.py` does not know is refused by name.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Final

from refquant.architectures.family import FieldValue
from refquant.architectures.metadata import read_count, read_flag, read_number
from refquant.architectures.rotary_fields import ROPE_FACTORS, ROPE_FIELDS
from refquant.errors import UnsupportedError

__all__ = ["THETA", "rope_from_gguf", "rope_from_hugging_face"]

Fields = dict[str, FieldValue]

GGUF: Final = "GGUF metadata"
CONFIG: Final = "config.json"
PARAMETERS: Final = "config.json, rope_parameters"

# What both formats document for keys that a writer may leave out.
THETA: Final = 10000.0
YARN: Final = {"rope_beta_fast": 32.0, "rope_beta_slow": 1.0}


def rope_from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str], arch: str, *, truncated: bool
) -> Fields:
    """Every field but `rope_style`; `truncated` is for YaRN, of which GGUF does not say it."""
    keys = {spec.name: spec.of(arch).gguf for spec in ROPE_FIELDS}
    theta = read_number(metadata, keys["rope_theta"], GGUF, default=THETA)
    factors: Fields = {"rope_factors": True} if ROPE_FACTORS.name in tensor_names else {}
    scaling = _scaling_from_gguf(metadata, keys, arch, truncated=truncated)
    return {"rope_theta": theta, **factors, **scaling}


def _scaling_from_gguf(
    metadata: Mapping[str, object], keys: Mapping[str, str], arch: str, *, truncated: bool
) -> Fields:
    # Old files state the factor alone, under a key of its own.
    old_factor = f"{arch}.rope.scale_linear"
    kind = metadata.get(keys["rope_scaling"], "none")
    if kind == "none" and metadata.get(old_factor, 1.0) != 1.0:
        kind = "linear"
    if kind == "none":
        return {}
    if kind not in ("linear", "yarn"):
        raise _refuse(GGUF, f"{keys['rope_scaling']} {kind!r}")
    old = read_number(metadata, old_factor, GGUF, default=1.0)
    factor = read_number(metadata, keys["rope_factor"], GGUF, default=old)
    if kind == "linear":
        return {} if factor == 1.0 else _linear(factor)
    context = read_count(metadata, f"{arch}.context_length", GGUF)
    original = read_count(metadata, keys["rope_original_context"], GGUF, default=context)
    betas = {
        name: read_number(metadata, keys[name], GGUF, default=value) for name, value in YARN.items()
    }
    return _yarn(factor, original, betas, truncated=truncated)


def rope_from_hugging_face(config: Mapping[str, object], *, theta: float = THETA) -> Fields:
    """Every field but `rope_style`; `theta` is the class's own default."""
    scaling = {**_mapping(config, "rope_parameters"), **_mapping(config, "rope_scaling")}
    # `rope_theta` stands at the top, where it always was, or in `rope_parameters`.
    nested = read_number(scaling, "rope_theta", PARAMETERS, default=theta)
    fields: Fields = {"rope_theta": read_number(config, "rope_theta", CONFIG, default=nested)}
    for source in (config, scaling):
        if (part := source.get("partial_rotary_factor")) not in (None, 1, 1.0):
            raise _refuse(CONFIG, f"partial_rotary_factor {part!r}")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind in (None, "default"):
        return fields
    if not isinstance(kind, str) or kind not in FROM_HUGGING_FACE:
        raise _refuse(CONFIG, f"rope_scaling of type {kind!r}")
    factor = read_number(scaling, "factor", PARAMETERS)
    return {**fields, **FROM_HUGGING_FACE[kind](scaling, config, factor)}


def _linear_from_hugging_face(
    _scaling: Mapping[str, object], _config: Mapping[str, object], factor: float
) -> Fields:
    return _linear(factor)


def _llama3_from_hugging_face(
    scaling: Mapping[str, object], config: Mapping[str, object], factor: float
) -> Fields:
    return {
        "rope_scaling": "llama3",
        "rope_factor": factor,
        "rope_original_context": _original_context(scaling, config),
        "rope_low_frequency": read_number(scaling, "low_freq_factor", PARAMETERS),
        "rope_high_frequency": read_number(scaling, "high_freq_factor", PARAMETERS),
    }


def _yarn_from_hugging_face(
    scaling: Mapping[str, object], config: Mapping[str, object], factor: float
) -> Fields:
    original = _original_context(scaling, config)
    if scaling.get("mscale") or scaling.get("mscale_all_dim"):
        raise _refuse(CONFIG, "rope_scaling with mscale")
    betas = {
        name: read_number(scaling, name.removeprefix("rope_"), PARAMETERS, default=value)
        for name, value in YARN.items()
    }
    truncated = read_flag(scaling, "truncate", PARAMETERS, default=True)
    yarn = _yarn(factor, original, betas, truncated=truncated)
    size = read_number(scaling, "attention_factor", PARAMETERS, default=float(yarn["rope_size"]))
    return {**yarn, "rope_size": size}


FROM_HUGGING_FACE: Final[
    Mapping[str, Callable[[Mapping[str, object], Mapping[str, object], float], Fields]]
] = {
    "linear": _linear_from_hugging_face,
    "llama3": _llama3_from_hugging_face,
    "yarn": _yarn_from_hugging_face,
}
"""The fields of each way of scaling, from its parameters, the whole config and the factor."""


def _original_context(scaling: Mapping[str, object], config: Mapping[str, object]) -> int:
    context = read_count(config, "max_position_embeddings", CONFIG)
    return read_count(scaling, "original_max_position_embeddings", PARAMETERS, default=context)


def _mapping(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _linear(factor: float) -> Fields:
    return {"rope_scaling": "linear", "rope_factor": factor}


def _yarn(factor: float, original: int, betas: Mapping[str, float], *, truncated: bool) -> Fields:
    return {
        "rope_scaling": "yarn",
        "rope_factor": factor,
        "rope_original_context": original,
        **betas,
        "rope_truncated": truncated,
        # Peng et al., YaRN (2023), equation 22: sqrt(1 / t) = 0.1 ln(s) + 1.
        "rope_size": 0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0,
    }


def _refuse(document: str, feature: str) -> UnsupportedError:
    return UnsupportedError(f"reading {document}: rotary positions here have no {feature}")
