"""Which schemes the suite is about: those of the table, and the variants that have mutants."""

import refquant
from conformance.generators.names import namespace
from refquant.driver import Scheme
from refquant.errors import RefquantError
from tests.mutants.every import MUTANTS

__all__ = ["by_namespace", "schemes_of_the_suite"]


def schemes_of_the_suite() -> tuple[Scheme, ...]:
    """Every scheme of the table and every scheme a mutant is a variant of, each once."""
    names = [scheme.name for scheme in refquant.schemes()]
    names += [mutant.scheme_name for mutant in MUTANTS]
    found = {}
    for name in names:
        try:
            scheme = refquant.scheme(name)
        except RefquantError:
            continue  # its codebook is in a package that is not installed
        if scheme.operators:
            continue  # level 2: the suite's operations speak of planes under a layout alone
        found.setdefault(scheme.name, scheme)
    return tuple(found.values())


def by_namespace() -> dict[str, list[Scheme]]:
    """The schemes of the suite under the names of their namespaces, in order."""
    groups: dict[str, list[Scheme]] = {}
    for scheme in schemes_of_the_suite():
        groups.setdefault(namespace(scheme), []).append(scheme)
    return groups
