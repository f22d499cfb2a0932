"""What families with LayerNorm share: norms of two tensors, and heads that share out the width."""

from collections.abc import Mapping
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue, TensorSpec

__all__ = ["WHOLE_HEADS", "layer_norm", "norm_epsilon"]


def norm_epsilon(gguf: str, hugging_face: str) -> FieldSpec:
    """The field that keeps a norm from dividing by zero, under the two formats' keys."""
    return FieldSpec(
        "norm_epsilon",
        "number",
        "added to the variance before its root",
        gguf=gguf,
        hugging_face=hugging_face,
    )


def layer_norm(name: str, hugging_face: str) -> tuple[TensorSpec, ...]:
    """A norm's weight and bias."""
    return tuple(
        TensorSpec(f"{name}.{part}", ("width",), f"{hugging_face}.{part}")
        for part in ("weight", "bias")
    )


def _has_whole_heads(fields: Mapping[str, FieldValue]) -> bool:
    return int(fields["width"]) % int(fields["heads"]) == 0


WHOLE_HEADS: Final = ("width must be a multiple of heads", _has_whole_heads)
"""The rule of families whose heads' width no field states."""
