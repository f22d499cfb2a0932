"""Rotary positions as fields: the base, the pairs, and how long contexts stretch the wavelengths.

`spec/arch/rotary.md` states the formulas. GGUF and Hugging Face name the same four ways of
scaling; whatever else a file asks for is refused by name.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_count, read_flag, read_number
from refquant.errors import UnsupportedError

__all__ = [
    "ROPE_FACTORS",
    "has_scaling",
    "rope_fields",
    "rope_from_gguf",
    "rope_from_hugging_face",
]

# The defaults that both formats document for keys a writer may leave out.
THETA: Final = 10000.0
YARN: Final = {"rope_beta_fast": 32.0, "rope_beta_slow": 1.0}

NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "linear": frozenset({"rope_factor"}),
    "llama3": frozenset(
        {"rope_factor", "rope_original_context", "rope_low_frequency", "rope_high_frequency"}
    ),
    "yarn": frozenset(
        {
            "rope_factor",
            "rope_original_context",
            "rope_beta_fast",
            "rope_beta_slow",
            "rope_truncated",
            "rope_size",
        }
    ),
}
"""Which fields each way of scaling needs, and no other may have."""

SCALING_FIELDS: Final = frozenset[str]().union(*NEEDS.values())

ROPE_FACTORS: Final = TensorSpec(
    "rope_freqs.weight", ("head_width / 2",), "", present_if="rope_factors"
)
"""What GGUF files hold for Llama 3.1 and later: a divisor for each pair's frequency."""


def rope_fields(arch: str) -> tuple[FieldSpec, ...]:
    """The fields, for a GGUF architecture of this name."""
    scaling = f"{arch}.rope.scaling"
    return (
        FieldSpec(
            "rope_theta",
            "number",
            "base of the rotation's wavelengths",
            gguf=f"{arch}.rope.freq_base",
            hugging_face="rope_theta",
        ),
        FieldSpec(
            "rope_style",
            "choice",
            "which two elements of a head rotate together: neighbours, or i and i + head_width / 2",
            choices=("interleaved", "halves"),
        ),
        FieldSpec(
            "rope_factors",
            "flag",
            "true if a tensor divides the frequencies",
            optional=True,
        ),
        FieldSpec(
            "rope_scaling",
            "choice",
            "how the frequencies are scaled",
            gguf=f"{scaling}.type",
            hugging_face="rope_scaling.rope_type",
            choices=("linear", "llama3", "yarn"),
            optional=True,
        ),
        FieldSpec(
            "rope_factor",
            "number",
            "by how much the context is stretched",
            gguf=f"{scaling}.factor",
            hugging_face="rope_scaling.factor",
            optional=True,
        ),
        FieldSpec(
            "rope_original_context",
            "count",
            "how many positions there were before",
            gguf=f"{scaling}.original_context_length",
            hugging_face="rope_scaling.original_max_position_embeddings",
            optional=True,
        ),
        FieldSpec(
            "rope_low_frequency",
            "number",
            "turns in the original context below which a pair is stretched (llama3)",
            hugging_face="rope_scaling.low_freq_factor",
            optional=True,
        ),
        FieldSpec(
            "rope_high_frequency",
            "number",
            "turns above which a pair stays as it is (llama3)",
            hugging_face="rope_scaling.high_freq_factor",
            optional=True,
        ),
        FieldSpec(
            "rope_beta_fast",
            "number",
            "turns above which a pair stays as it is (yarn)",
            gguf=f"{scaling}.yarn_beta_fast",
            hugging_face="rope_scaling.beta_fast",
            optional=True,
        ),
        FieldSpec(
            "rope_beta_slow",
            "number",
            "turns below which a pair is stretched (yarn)",
            gguf=f"{scaling}.yarn_beta_slow",
            hugging_face="rope_scaling.beta_slow",
            optional=True,
        ),
        FieldSpec(
            "rope_truncated",
            "flag",
            "true if the two borders between pairs are rounded outwards (yarn)",
            hugging_face="rope_scaling.truncate",
            optional=True,
        ),
        FieldSpec(
            "rope_size",
            "number",
            "by what rotated queries and keys are multiplied (yarn)",
            hugging_face="rope_scaling.attention_factor",
            optional=True,
        ),
    )


def has_scaling(fields: Mapping[str, FieldValue]) -> bool:
    """True if exactly the fields are there that the way of scaling needs."""
    kind = fields.get("rope_scaling")
    found = SCALING_FIELDS & fields.keys()
    return found == (NEEDS[str(kind)] if kind is not None else frozenset())


def rope_from_gguf(
    metadata: Mapping[str, object], tensor_names: Collection[str], arch: str, *, truncated: bool
) -> dict[str, FieldValue]:
    """Every field but `rope_style`; `truncated` is for YaRN, of which GGUF does not say it."""
    document = "GGUF metadata"
    scaling = f"{arch}.rope.scaling"
    fields: dict[str, FieldValue] = {
        "rope_theta": read_number(metadata, f"{arch}.rope.freq_base", document, default=THETA)
    }
    if "rope_freqs.weight" in tensor_names:
        fields["rope_factors"] = True
    kind = metadata.get(f"{scaling}.type", "none")
    if kind == "none" and metadata.get(f"{arch}.rope.scale_linear", 1.0) != 1.0:
        kind = "linear"
    if kind not in ("none", "linear", "yarn"):
        raise _refuse(document, f"{scaling}.type {kind!r}")
    if kind == "none":
        return fields
    old = read_number(metadata, f"{arch}.rope.scale_linear", document, default=1.0)
    factor = read_number(metadata, f"{scaling}.factor", document, default=old)
    if kind == "linear":
        return fields if factor == 1.0 else {**fields, **_linear(factor)}
    original = read_count(
        metadata,
        f"{scaling}.original_context_length",
        document,
        default=read_count(metadata, f"{arch}.context_length", document),
    )
    betas = {
        name: read_number(metadata, f"{scaling}.yarn_{name[5:]}", document, default=value)
        for name, value in YARN.items()
    }
    return {**fields, **_yarn(factor, original, betas, truncated=truncated)}


def rope_from_hugging_face(
    config: Mapping[str, object], *, theta: float = THETA
) -> dict[str, FieldValue]:
    """Every field but `rope_style`; `theta` is the class's own default."""
    document = "config.json"
    scaling = {**_mapping(config, "rope_parameters"), **_mapping(config, "rope_scaling")}
    # `rope_theta` stands at the top, where it always was, or in `rope_parameters`.
    where = f"{document}, rope_parameters"
    nested = read_number(scaling, "rope_theta", where, default=theta)
    fields: dict[str, FieldValue] = {
        "rope_theta": read_number(config, "rope_theta", document, default=nested)
    }
    for source in (config, scaling):
        if (part := source.get("partial_rotary_factor")) not in (None, 1, 1.0):
            raise _refuse(document, f"partial_rotary_factor {part!r}")
    return {**fields, **_scaling_from_hugging_face(scaling, config, where)}


def _scaling_from_hugging_face(
    scaling: Mapping[str, object], config: Mapping[str, object], where: str
) -> dict[str, FieldValue]:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind in (None, "default"):
        return {}
    if kind not in ("linear", "llama3", "yarn"):
        raise _refuse("config.json", f"rope_scaling of type {kind!r}")
    factor = read_number(scaling, "factor", where)
    if kind == "linear":
        return _linear(factor)
    context = read_count(config, "max_position_embeddings", "config.json")
    original = read_count(scaling, "original_max_position_embeddings", where, default=context)
    if kind == "llama3":
        return {
            "rope_scaling": "llama3",
            "rope_factor": factor,
            "rope_original_context": original,
            "rope_low_frequency": read_number(scaling, "low_freq_factor", where),
            "rope_high_frequency": read_number(scaling, "high_freq_factor", where),
        }
    if scaling.get("mscale") or scaling.get("mscale_all_dim"):
        raise _refuse("config.json", "rope_scaling with mscale")
    betas = {
        name: read_number(scaling, name[5:], where, default=value) for name, value in YARN.items()
    }
    truncated = read_flag(scaling, "truncate", where, default=True)
    yarn = _yarn(factor, original, betas, truncated=truncated)
    size = read_number(scaling, "attention_factor", where, default=float(yarn["rope_size"]))
    return {**yarn, "rope_size": size}


def _mapping(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _linear(factor: float) -> dict[str, FieldValue]:
    return {"rope_scaling": "linear", "rope_factor": factor}


def _yarn(
    factor: float, original: int, betas: Mapping[str, float], *, truncated: bool
) -> dict[str, FieldValue]:
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
