"""Wrong bitsandbytes blocks: nibbles swapped, other quotients, other ties, other tables."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Expression, Layout, field
from refquant.numerics import float16_bits, float32_from_float16
from refquant.schemes.bnb import dynamic, tables
from refquant.schemes.bnb.nested import mean_of, nested_codes

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
        absmax = np.maximum(np.abs(x).max(axis=1), dynamic.LEAST)[:, None]
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


NESTED = "bnb/nf4[block=64,absmax=nested]"


def nested(
    change: Callable[[F32, np.float32], Mapping[str, NDArray[np.integer]]],
    mean: Callable[[F32], np.float32] = mean_of,
) -> Callable[[], Scheme]:
    """Double quantization with other codes of absmax, or another offset."""

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        codes = tables.encode(x.reshape(-1, 64), tables.NF4)
        absmax = codes["s"].view(np.float32).reshape(-1)
        offset = mean(absmax)
        found = {"q": codes["q"], **change(absmax, offset), "o": offset.reshape(1).view(np.uint32)}
        return {name: part.reshape(1, -1) for name, part in found.items()}

    return lambda: replace(refquant.scheme(NESTED), encode=encode)


def multiplied(absmax: F32, offset: np.float32) -> Mapping[str, NDArray[np.integer]]:
    """The short last run filled up with zeros and treated as the others."""
    rest = np.pad(absmax - offset, (0, -absmax.size % 256)).reshape(-1, 256)
    codes = tables.encode(rest, dynamic.DYNAMIC)
    return {"a": codes["q"].reshape(-1)[: absmax.size], "n": codes["s"].reshape(-1)}


def without_offset() -> Scheme:
    """The mean left out when absmax is decoded."""
    layout = refquant.scheme(NESTED).layout
    absmax = ("add", ("mul", ("lut", "nested_quant_map", "a"), "n"), ("mul", "o", 0.0))
    value = ("mul", ("lut", "table", "q"), absmax)
    return replace(refquant.scheme(NESTED), layout=replace(layout, value=value))


MUTANTS = (
    *mutants(),
    Mutant("nf4-nested-short-run", NESTED, "a short last run is multiplied", nested(multiplied)),
    Mutant(
        "nf4-nested-sum",
        NESTED,
        "absmax added up in binary32 from first to last",
        nested(
            nested_codes,
            lambda a: np.float32(np.add.accumulate(a, dtype=np.float32)[-1] / np.float32(a.size)),
        ),
    ),
    Mutant("nf4-nested-no-offset", NESTED, "the mean left out in decoding", without_offset),
)

INT8 = "bnb/int8"


def rows(*, half: bool, steps: int) -> Callable[[], Scheme]:
    """Rows of 8-bit codes by another quotient."""

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        x = float32_from_float16(float16_bits(x)) if half else x
        absmax, most = np.abs(x).max(axis=1), np.float32(steps)
        inverse = ((np.float32(1) / absmax) * most)[:, None]
        codes = np.nan_to_num(np.rint(x * inverse))
        return {"s": absmax.view(np.uint32)[:, None], "q": np.clip(codes, -128, 127).astype("i1")}

    return lambda: replace(refquant.scheme(INT8), encode=encode)


def rows_with(value: Expression) -> Callable[[], Scheme]:
    layout = refquant.scheme(INT8).layout
    return lambda: replace(refquant.scheme(INT8), layout=replace(layout, value=value))


MUTANTS = (
    *MUTANTS,
    Mutant(
        "int8-rows-wide",
        INT8,
        "weights not rounded to float16",
        rows(half=False, steps=127),
    ),
    Mutant("int8-rows-half-steps", INT8, "128 codes a side", rows(half=True, steps=128)),
    Mutant("int8-rows-scale", INT8, "absmax taken as the scale", rows_with(("mul", "q", "s"))),
    Mutant(
        "int8-rows-order",
        INT8,
        "absmax over 127 first",
        rows_with(("mul", "q", ("mul", "s", float(np.float32(1) / np.float32(127))))),
    ),
)
