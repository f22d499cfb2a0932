"""Wrong bitsandbytes blocks: nibbles swapped, other quotients, other ties, other tables."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from refquant.driver import Scheme
from refquant.layout import Layout, field
from refquant.schemes.bnb import tables
from tests.mutants import Mutant

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
KINDS = ("nf4", "fp4", "dynamic8")


def true(kind: str) -> Scheme:
    return refquant.scheme(f"bnb/{kind}[block=64]")


def swapped(kind: str) -> Scheme:
    """First weight in the low half of a byte."""
    layout = true(kind).layout
    fields = {**layout.fields, "q": field("codes", layout.fields["q"].element, "2:4")}
    changed = Layout(layout.planes, fields, layout.value, layout.tables)
    return replace(true(kind), layout=changed)


def other_table(kind: str, table: F32) -> Scheme:
    layout = true(kind).layout
    return replace(
        true(kind), layout=Layout(layout.planes, layout.fields, layout.value, {"table": table})
    )


def encoded(kind: str, side: str, *, divide: bool) -> Callable[[], Scheme]:
    """Another quotient, or another side of the middles."""
    table = tables.TABLES[kind]
    order = np.argsort(table, kind="stable").astype(np.uint8)
    middles = (table[order][:-1] + table[order][1:]) / np.float32(2)

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        absmax = np.maximum(np.abs(x).max(axis=1), tables.LEAST)[:, None]
        scaled = x / absmax if divide else x * (np.float32(1) / absmax)
        found = np.searchsorted(middles, scaled, side="right" if side == "right" else "left")
        return {"s": np.abs(x).max(axis=1).view(np.uint32)[:, None], "q": order[found]}

    return lambda: replace(true(kind), encode=encode)


def mutants() -> Iterator[Mutant]:
    for kind in KINDS:
        scheme, table = f"bnb/{kind}[block=64]", tables.TABLES[kind]
        yield Mutant(
            f"{kind}-upper",
            scheme,
            "a weight on a middle takes the upper entry",
            encoded(kind, "right", divide=False),
        )
        yield Mutant(
            f"{kind}-divided",
            scheme,
            "weights divided by absmax instead of multiplied by its reciprocal",
            encoded(kind, "left", divide=True),
        )
        yield Mutant(
            f"{kind}-reversed",
            scheme,
            "the table read backwards",
            lambda kind=kind, table=table: other_table(kind, table[::-1]),
        )
        if kind != "dynamic8":
            yield Mutant(
                f"{kind}-swapped",
                scheme,
                "first weight in the low half of a byte",
                lambda kind=kind: swapped(kind),
            )
    yield Mutant(
        "fp4-sorted",
        "bnb/fp4[block=64]",
        "codes in the order of their values",
        lambda: other_table("fp4", np.sort(tables.FP4)),
    )
    coarse = tables.NF4.astype(np.float16).astype(np.float32)
    yield Mutant(
        "nf4-coarse",
        "bnb/nf4[block=64]",
        "the table rounded to float16",
        lambda: other_table("nf4", coarse),
    )


MUTANTS = tuple(mutants())
