"""All mutants of all namespaces, found by file."""

import importlib
from pathlib import Path

from conformance.mutants.schemes import Mutant

__all__ = ["MUTANTS"]


def _modules() -> list[str]:
    own = {"__init__", "every"}
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in own)


MUTANTS: tuple[Mutant, ...] = tuple(
    mutant
    for name in _modules()
    for mutant in importlib.import_module(f"conformance.mutants.schemes.{name}").MUTANTS
)
