"""torch-to-nnef: the compression methods of its registry, `-c min_max_q4_0_all` and its kin.

A method quantizes all weights of some classes of modules to Q40. A matrix that is shared with a
module of another class is skipped: with tied embeddings, `min_max_q4_0` leaves the embedding alone.

A registry of one's own is a dictionary in a Python module, named `package.module.DICT`, from the
names of methods to functions of a model's facts that return a recipe:

    def mine(model: ModelFacts) -> Recipe: ...
    REGISTRY = {"mine": mine}

Source: torch_to_nnef 0.24.12, `compress.py`.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Final

from refquant.errors import UsageError
from refquant.recipe import Recipe, Role, Rule, check_recipe
from refquant.recipe.read import suggestion
from refquant.upstream.facts import ModelFacts

__all__ = ["DEFAULT_COMPRESSION", "compression_recipe"]

Method = Callable[[ModelFacts], Recipe]

LINEAR: Final[tuple[Role, ...]] = ("attention", "feedforward", "head", "default")


def _q40(name: str, *, embeddings: bool, percentile: int = 100) -> Method:
    """Q40 for linear layers, and for embeddings where they are asked for."""
    scheme = f"t2n/q40[percentile={percentile}]"

    def method(model: ModelFacts) -> Recipe:
        rules = [Rule(scheme=scheme, role=LINEAR, fallback=("keep",))]
        if embeddings:
            rules.append(Rule(scheme=scheme, role="embedding", fallback=("keep",)))
        elif model.is_tied:
            why = "shared with the output, whose class is another"
            rules.append(Rule(scheme="keep", role="embedding", why=why))
        return Recipe(rules=tuple(rules), name=name)

    return method


DEFAULT_COMPRESSION: Final[Mapping[str, Method]] = {
    "min_max_q4_0": _q40("min_max_q4_0", embeddings=False),
    "min_max_q4_0_with_embeddings": _q40("min_max_q4_0_with_embeddings", embeddings=True),
    "min_max_q4_0_with_embeddings_99": _q40(
        "min_max_q4_0_with_embeddings_99", embeddings=True, percentile=99
    ),
    # Convolutions as well; none of the architectures here has any.
    "min_max_q4_0_all": _q40("min_max_q4_0_all", embeddings=True),
}
"""The methods of the origin's own registry."""


def compression_recipe(name: str, model: ModelFacts, registry: str = "") -> Recipe:
    """The recipe of a method of the default registry, or of the one at `package.module.DICT`.

    Raises `UsageError` where the registry or the method is not there, or returns no recipe.
    """
    methods = _registry(registry) if registry else DEFAULT_COMPRESSION
    if name not in methods:
        known = ", ".join(methods)
        hint = suggestion(name, methods)
        raise UsageError(f"unknown compression method {name!r}{hint} (there are {known})")
    recipe = methods[name](model)
    if not isinstance(recipe, Recipe):
        raise UsageError(f"{registry}[{name!r}] returned {type(recipe).__name__}, not a Recipe")
    check_recipe(recipe, f"{registry or 'compression method'} {name}")
    return recipe


def _registry(path: str) -> Mapping[str, Method]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"compression registry {path!r}: {error}") from error
    if not isinstance(found, Mapping):
        raise UsageError(f"compression registry {path!r} is no dictionary")
    return found
