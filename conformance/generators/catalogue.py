"""Which schemes the suite is about: those of the table, and the variants that have mutants."""

from collections.abc import Iterable

import refquant
from conformance.generators.names import namespace
from conformance.generators.stored import SCHEMES
from conformance.mutants import onnx_runtime
from conformance.mutants.schemes.every import MUTANTS
from refquant.driver import Scheme
from refquant.errors import RefquantError

__all__ = ["by_namespace", "schemes_of_the_suite", "stored_by_namespace"]


def schemes_of_the_suite() -> tuple[Scheme, ...]:
    """Every scheme of the table and every scheme a mutant is a variant of, each once."""
    names = [scheme.name for scheme in refquant.schemes()]
    names += [mutant.scheme_name for mutant in (*MUTANTS, *onnx_runtime.MUTANTS)]
    found = {}
    for name in names:
        try:
            scheme = refquant.scheme(name)
        except RefquantError:
            continue  # its codebook is in a package that is not installed
        if scheme.operators:
            continue  # level 2: `stored.SCHEMES` has them
        found.setdefault(scheme.name, scheme)
    return tuple(found.values())


def by_namespace() -> dict[str, list[Scheme]]:
    """The schemes of the suite under the names of their namespaces, in order."""
    return _grouped(schemes_of_the_suite())


def stored_by_namespace() -> dict[str, list[Scheme]]:
    """The schemes of the suite whose planes no layout alone describes, likewise."""
    return _grouped(map(refquant.scheme, SCHEMES))


def _grouped(schemes: Iterable[Scheme]) -> dict[str, list[Scheme]]:
    groups: dict[str, list[Scheme]] = {}
    for scheme in schemes:
        groups.setdefault(namespace(scheme), []).append(scheme)
    return groups
