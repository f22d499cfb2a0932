"""The fields of rotary positions, and which of them each way of scaling needs.

`spec/arch/rotary.md` states the formulas. GGUF and Hugging Face name the same ways of scaling.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue, TensorSpec

__all__ = ["ROPE_FACTORS", "ROPE_FIELDS", "SCALINGS", "has_scaling"]

FACTOR: Final = FieldSpec(
    "rope_factor",
    "number",
    "by how much the context is stretched",
    gguf="{arch}.rope.scaling.factor",
    hugging_face="rope_scaling.factor",
    optional=True,
)
ORIGINAL_CONTEXT: Final = FieldSpec(
    "rope_original_context",
    "count",
    "how many positions there were before",
    gguf="{arch}.rope.scaling.original_context_length",
    hugging_face="rope_scaling.original_max_position_embeddings",
    optional=True,
)
LOW_FREQUENCY: Final = FieldSpec(
    "rope_low_frequency",
    "number",
    "turns in the original context below which a pair is stretched (llama3)",
    hugging_face="rope_scaling.low_freq_factor",
    optional=True,
)
HIGH_FREQUENCY: Final = FieldSpec(
    "rope_high_frequency",
    "number",
    "turns above which a pair stays as it is (llama3)",
    hugging_face="rope_scaling.high_freq_factor",
    optional=True,
)
BETA_FAST: Final = FieldSpec(
    "rope_beta_fast",
    "number",
    "turns above which a pair stays as it is (yarn)",
    gguf="{arch}.rope.scaling.yarn_beta_fast",
    hugging_face="rope_scaling.beta_fast",
    optional=True,
)
BETA_SLOW: Final = FieldSpec(
    "rope_beta_slow",
    "number",
    "turns below which a pair is stretched (yarn)",
    gguf="{arch}.rope.scaling.yarn_beta_slow",
    hugging_face="rope_scaling.beta_slow",
    optional=True,
)
TRUNCATED: Final = FieldSpec(
    "rope_truncated",
    "flag",
    "true if the two borders between pairs are rounded outwards (yarn)",
    hugging_face="rope_scaling.truncate",
    optional=True,
)
SIZE: Final = FieldSpec(
    "rope_size",
    "number",
    "by what rotated queries and keys are multiplied (yarn)",
    hugging_face="rope_scaling.attention_factor",
    optional=True,
)

SCALINGS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {
    "linear": (FACTOR,),
    "llama3": (FACTOR, ORIGINAL_CONTEXT, LOW_FREQUENCY, HIGH_FREQUENCY),
    "yarn": (FACTOR, ORIGINAL_CONTEXT, BETA_FAST, BETA_SLOW, TRUNCATED, SIZE),
}
"""Which fields each way of scaling needs, and no other may have."""

SCALING_FIELDS: Final = tuple(dict.fromkeys(chain.from_iterable(SCALINGS.values())))

ROPE_FIELDS: Final = (
    FieldSpec(
        "rope_theta",
        "number",
        "base of the rotation's wavelengths",
        gguf="{arch}.rope.freq_base",
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
        gguf="{arch}.rope.scaling.type",
        hugging_face="rope_scaling.rope_type",
        choices=tuple(SCALINGS),
        optional=True,
    ),
    *SCALING_FIELDS,
)

ROPE_FACTORS: Final = TensorSpec(
    "rope_freqs.weight", ("head_width / 2",), "", present_if="rope_factors"
)
"""What GGUF files hold for Llama 3.1 and later: a divisor for each pair's frequency."""


def has_scaling(fields: Mapping[str, FieldValue]) -> bool:
    """True if exactly the fields are there that the way of scaling needs."""
    kind = fields.get("rope_scaling")
    found = {spec.name for spec in SCALING_FIELDS} & fields.keys()
    return found == {spec.name for spec in (() if kind is None else SCALINGS[str(kind)])}
