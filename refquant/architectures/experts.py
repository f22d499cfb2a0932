"""A mixture of experts as fields and tensors: many networks, of which each token takes a few.

Every expert is a gated network; their matrices are stacked, expert by expert, as in GGUF files.
"""

from collections.abc import Mapping
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue, TensorSpec
from refquant.architectures.metadata import read_count

__all__ = ["EXPERTS", "expert_fields", "expert_tensors", "experts_from", "takes_no_more_than_all"]

MOST: Final = 65536
"""Networks of a whole model, so that a hostile file cannot state more names than memory holds."""


def expert_fields(arch: str, hugging_face: str, *, optional: bool = False) -> tuple[FieldSpec, ...]:
    """How many experts there are, and how many each token takes."""
    return (
        FieldSpec(
            "experts",
            "count",
            "networks to choose from",
            gguf=f"{arch}.expert_count",
            hugging_face=hugging_face,
            maximum=MOST,
            optional=optional,
        ),
        FieldSpec(
            "experts_used",
            "count",
            "networks that each token takes",
            gguf=f"{arch}.expert_used_count",
            hugging_face="num_experts_per_tok",
            maximum=MOST,
            optional=optional,
        ),
    )


def experts_from(
    metadata: Mapping[str, object], keys: tuple[str, str], document: str
) -> dict[str, FieldValue]:
    """Both fields, under these keys."""
    return {
        "experts": read_count(metadata, keys[0], document),
        "experts_used": read_count(metadata, keys[1], document),
    }


def expert_tensors(router: str, expert: str, parts: tuple[str, str, str]) -> tuple[TensorSpec, ...]:
    """Router, gates, ups and downs, under Hugging Face's names for a router and one expert."""
    gate, up, down = (f"{expert}.{part}.weight" for part in parts)
    inner, outer = ("feedforward_width", "width"), ("width", "feedforward_width")
    return (
        TensorSpec(
            "blk.{layer}.ffn_gate_inp.weight", ("experts", "width"), router, present_if="experts"
        ),
        TensorSpec(
            "blk.{layer}.ffn_gate_exps.weight", ("experts", *inner), gate, present_if="experts"
        ),
        TensorSpec("blk.{layer}.ffn_up_exps.weight", ("experts", *inner), up, present_if="experts"),
        TensorSpec(
            "blk.{layer}.ffn_down_exps.weight", ("experts", *outer), down, present_if="experts"
        ),
    )


def takes_no_more_than_all(fields: Mapping[str, FieldValue]) -> bool:
    """True if both fields are there or none, and no token takes more experts than there are."""
    if "experts" not in fields:
        return "experts_used" not in fields
    if int(fields["layers"]) * int(fields["experts"]) > MOST:
        return False
    return int(fields.get("experts_used", 0)) in range(1, int(fields["experts"]) + 1)


EXPERTS: Final = (
    f"1 <= experts_used <= experts, and all layers together have at most {MOST} experts",
    takes_no_more_than_all,
)
