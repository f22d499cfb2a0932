"""The recipe behind `--scheme NAME`: one scheme for every matrix, and care for the two ends."""

from fractions import Fraction
from typing import Final

from refquant.errors import UsageError
from refquant.recipe.document import KEEP, Recipe, Rule
from refquant.schemes import scheme as find_scheme

__all__ = ["uniform_recipe"]

SENSITIVE_SCHEME: Final = "ggml/q8_0"
"""What embeddings and output heads get in place of fewer than `SENSITIVE_BITS` bits."""

SENSITIVE_BITS: Final = 8

LARGE: Final = (4096, 4096)
"""A shape on which scales for a row weigh as little as in a large model."""


def uniform_recipe(scheme: str, embedding_scheme: str | None = None) -> Recipe:
    """One scheme for every matrix, or `keep`; another for the embedding and the output head.

    Errors in the embedding and the head reach every token undiluted. So these two get
    `ggml/q8_0` in place of fewer than 8 bits, unless `embedding_scheme` says what they get.
    Raises `UnknownSchemeError`, and `UsageError` for a scheme that can only be decoded.
    """
    rules = [*_ends(scheme, embedding_scheme), Rule(scheme=_encodable(scheme))]
    return Recipe(rules=tuple(rules), name=rules[-1].scheme)


def _ends(scheme: str, embedding_scheme: str | None) -> list[Rule]:
    if embedding_scheme is not None:
        name = _encodable(embedding_scheme)
        return [
            Rule(scheme=name, role="embedding", why="embedding, as asked"),
            Rule(scheme=name, role="head", why="head, as asked"),
        ]
    if scheme == KEEP or _code_bits(scheme) >= SENSITIVE_BITS:
        return []
    return [
        Rule(scheme=SENSITIVE_SCHEME, role="embedding", why="embedding: at least 8 bits"),
        Rule(scheme=SENSITIVE_SCHEME, role="head", why="head: at least 8 bits"),
    ]


def _code_bits(scheme: str) -> Fraction:
    return find_scheme(scheme).bits_per_weight(LARGE)


def _encodable(name: str) -> str:
    if name == KEEP:
        return name
    found = find_scheme(name)
    if not found.can_encode:
        raise UsageError(f"{found.name} can be decoded but not encoded; choose another scheme")
    return found.name
