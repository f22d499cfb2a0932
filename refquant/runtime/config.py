"""The numbers that the llama forward pass reads, frozen and typed."""

from dataclasses import dataclass, fields
from typing import Any, cast

from refquant.architectures import Architecture, family_named
from refquant.runtime.ops import RopeStyle

__all__ = ["LlamaConfig"]


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """One llama model's numbers; `refquant/architectures/llama.py` says what each one means."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    feedforward_width: int
    vocabulary: int
    context: int
    rope_theta: float
    rope_style: RopeStyle
    norm_epsilon: float
    tied_embeddings: bool

    @classmethod
    def from_architecture(cls, architecture: Architecture) -> "LlamaConfig":
        """The configuration of a checked architecture; FormatError if a field breaks its law."""
        family_named("llama").check_fields(architecture.fields)
        values = {field.name: architecture.fields[field.name] for field in fields(cls)}
        return cls(**cast(dict[str, Any], values))

    @property
    def queries_per_key(self) -> int:
        """How many query heads share one head of keys and values."""
        return self.heads // self.key_value_heads

    @property
    def query_rows(self) -> int:
        """Length of all queries of a token side by side."""
        return self.heads * self.head_width

    @property
    def key_rows(self) -> int:
        """Length of all keys (or all values) of a token side by side."""
        return self.key_value_heads * self.head_width
