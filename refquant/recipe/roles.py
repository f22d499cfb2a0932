"""What a tensor does in a model, told from its name.

Models that were opened have GGUF's names. Modules of torch have their own; the usual spellings of
transformers, of torchchat and of GPT-2 are known as well, so that the roles of a recipe reach them.
"""

import re
from typing import Final, Literal, get_args

__all__ = ["ROLES", "Role", "is_router", "layer_of", "role_of"]

Role = Literal["embedding", "attention", "feedforward", "head", "norm", "default"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_BY_NAME: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (re.compile(r"(token_embd|position_embd|token_types)\.weight"), "embedding"),
    (re.compile(r"output\.(weight|bias)"), "head"),
    (re.compile(r"(.*\.)?\w*norm\w*\.(weight|bias)"), "norm"),
    (re.compile(r"blk\.\d+\.attn_\w+\.(weight|bias)"), "attention"),
    (re.compile(r"blk\.\d+\.ffn_\w+\.(weight|bias)"), "feedforward"),
)

_IN_TORCH: Final[tuple[tuple[re.Pattern[str], Role], ...]] = (
    (
        re.compile(r"(.*\.)?(embed_tokens|tok_embeddings|wte|wpe|\w+_embeddings)\.weight"),
        "embedding",
    ),
    (re.compile(r"(.*\.)?(lm_head|embed_out)\.(weight|bias)"), "head"),
    (re.compile(r"(.*\.)?(ln_\w+|LayerNorm)\.(weight|bias)"), "norm"),
    (re.compile(r".*\.(self_attn|attention|attn)\.(.*\.)?\w+\.(weight|bias)"), "attention"),
    (
        re.compile(r".*\.(mlp|feed_forward|ffn|block_sparse_moe)\.(.*\.)?\w+\.(weight|bias)"),
        "feedforward",
    ),
)
_ROUTER: Final = re.compile(
    r"(.*\.)?(ffn_gate_inp|router|mlp\.gate|block_sparse_moe\.gate|feed_forward\.gate)\.weight"
)
_LAYER: Final = re.compile(r"blk\.(\d+)\.|(?:.*\.)?(?:layers?|h)\.(\d+)\.")


def role_of(name: str) -> Role:
    """The role of a tensor; `default` where its name says nothing."""
    for pattern, role in (*_BY_NAME, *_IN_TORCH):
        if pattern.fullmatch(name):
            return role
    return "default"


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to, from 0; None outside of layers."""
    found = _LAYER.match(name)
    return int(found.group(1) or found.group(2)) if found else None


def is_router(name: str) -> bool:
    """Whether a tensor chooses experts: few weights, whose errors send tokens elsewhere."""
    return _ROUTER.fullmatch(name) is not None
