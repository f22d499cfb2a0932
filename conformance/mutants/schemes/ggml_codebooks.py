"""Wrong IQ1, IQ2 and IQ3 blocks: signs, scales and shifts misread, vectors backwards."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Expression
from refquant.schemes.codebooks import CODEBOOKS

__all__ = ["MUTANTS"]


def with_table(name: str, table: str, change: Callable[[Scheme], object]) -> Callable[[], Scheme]:
    """Another table in the place of one."""

    def build() -> Scheme:
        scheme = refquant.scheme(name)
        tables = {**scheme.layout.tables, table: np.float32(change(scheme))}
        return replace(scheme, layout=replace(scheme.layout, tables=tables))

    return build


def backwards(scheme: Scheme) -> object:
    over = scheme.layout.fields["v"].over[0]
    return scheme.layout.tables["vectors"].reshape(-1, over)[:, ::-1].reshape(-1)


def negated(table: str) -> Callable[[Scheme], object]:
    return lambda scheme: -scheme.layout.tables[table]


def without_addend(value: Expression, addend: float) -> Expression:
    """The formula with a constant that is added replaced by zero."""
    if not isinstance(value, tuple):
        return value
    if value[0] == "lut":
        return value
    operands = [without_addend(operand, addend) for operand in value[1:]]
    if value[0] == "add":
        operands = [0.0 if operand == addend else operand for operand in operands]
    return (value[0], *operands)


def unshifted(name: str, addend: float) -> Callable[[], Scheme]:
    """Scales without the half, or the one, that is added to their codes."""

    def build() -> Scheme:
        scheme = refquant.scheme(name)
        value = without_addend(scheme.layout.value, addend)
        return replace(scheme, layout=replace(scheme.layout, value=value))

    return build


def mutants() -> Iterator[Mutant]:
    for name, codebook in CODEBOOKS.items():
        short = codebook.kind.lower().replace("_", "-")
        table = "shifts" if "shifts" in codebook.tables else "signs"
        addend = 0.5 if codebook.kind in ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS") else 1.0
        yield Mutant(
            f"{short}-{table}",
            name,
            f"a set bit of {table} read as a clear one",
            with_table(name, table, negated(table)),
        )
        yield Mutant(
            f"{short}-backwards",
            name,
            "the numbers of a vector from last to first",
            with_table(name, "vectors", backwards),
        )
        yield Mutant(
            f"{short}-scale",
            name,
            f"the {addend:g} that is added to a scale's code left out",
            unshifted(name, addend),
        )


MUTANTS = tuple(mutants())
