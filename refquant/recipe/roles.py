"""What a tensor does in a model, told from its name (the spelling is GGUF's)."""

import re
from typing import Final, Literal, get_args

__all__ = ["ROLES", "Role", "layer_of", "role_of"]

Role = Literal["embedding", "attention", "feedforward", "head", "norm", "default"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_BY_NAME: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (re.compile(r"(token_embd|position_embd|token_types)\.weight"), "embedding"),
    (re.compile(r"output\.(weight|bias)"), "head"),
    (re.compile(r"(.*\.)?\w*norm\w*\.(weight|bias)"), "norm"),
    (re.compile(r"blk\.\d+\.attn_\w+\.(weight|bias)"), "attention"),
    (re.compile(r"blk\.\d+\.ffn_\w+\.(weight|bias)"), "feedforward"),
)
_LAYER: Final = re.compile(r"blk\.(\d+)\.")


def role_of(name: str) -> Role:
    """The role of a tensor; `default` where its name says nothing."""
    for pattern, role in _BY_NAME:
        if pattern.fullmatch(name):
            return role
    return "default"


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to, from 0; None outside of layers."""
    found = _LAYER.match(name)
    return int(found.group(1)) if found else None
