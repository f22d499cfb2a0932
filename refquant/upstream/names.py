"""Every recipe that has a name, whoever gave it, for `refquant quantize --recipe NAME`."""

from collections.abc import Mapping
from typing import Final

from refquant.errors import UsageError
from refquant.recipe import Recipe
from refquant.recipe.read import suggestion
from refquant.upstream import ai_edge, ai_edge_quantizer, llama_cpp, torch_to_nnef
from refquant.upstream.facts import ModelFacts

__all__ = ["ORIGINS", "recipe_named", "recipe_names"]

ORIGINS: Final[Mapping[str, tuple[str, ...]]] = {
    "AI Edge": tuple(ai_edge.NAMES),
    "AI Edge Quantizer": tuple(ai_edge_quantizer.NAMES),
    "torch-to-nnef": tuple(torch_to_nnef.DEFAULT_COMPRESSION),
    "llama.cpp": llama_cpp.NAMES,
}
"""The tools, and the names that each of them gave."""


def recipe_names() -> tuple[str, ...]:
    """All names, in the order of their tools."""
    return tuple(name for names in ORIGINS.values() for name in names)


def recipe_named(name: str, model: ModelFacts, *, has_importance: bool = False) -> Recipe:
    """The recipe of this name for a model; UsageError with what was probably meant."""
    if name in ai_edge.NAMES:
        return ai_edge.NAMES[name]()
    if name in ai_edge_quantizer.NAMES:
        return ai_edge_quantizer.NAMES[name]()
    if name in torch_to_nnef.DEFAULT_COMPRESSION:
        return torch_to_nnef.compression_recipe(name, model)
    if name.upper() in llama_cpp.NAMES:
        return llama_cpp.mixture(name, model, has_importance=has_importance)
    raise UsageError(
        f"no recipe {name!r}: neither a file nor a known name{suggestion(name, recipe_names())} "
        "(`refquant recipes` lists them all)"
    )
