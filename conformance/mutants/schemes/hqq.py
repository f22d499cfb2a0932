"""Wrong HQQ groups: other formulas for the zero point, other orders of operations and bits."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_value
from refquant.driver import Scheme
from refquant.layout import Layout, Unsigned, field

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
NAME = "hqq/affine[bits=4,group=64]"


def swapped() -> Scheme:
    layout = refquant.scheme(NAME).layout
    fields = {**layout.fields, "q": field("codes", Unsigned(4), "4", "0")}
    return replace(refquant.scheme(NAME), layout=Layout(layout.planes, fields, layout.value))


def other(knobs: str) -> Callable[[], Scheme]:
    encode = refquant.scheme(f"{NAME[:-1]},{knobs}]").encode
    return lambda: replace(refquant.scheme(NAME), encode=encode)


def variant(*, divide: bool, limit: bool) -> Callable[[], Scheme]:
    """The inverse scale by one division, or without its limits."""

    def encode(x: F32) -> Mapping[str, NDArray[np.integer]]:
        low, high = x.min(axis=1), x.max(axis=1)
        extent, one = high - low, np.float32(1)
        if limit:
            inverse = np.float32(15) / extent if divide else (one / extent) * np.float32(15)
            inverse = np.minimum(np.where(extent <= np.float32(1e-4), one, inverse), 20000)
        else:
            inverse = np.where(extent > 0, (one / extent) * np.float32(15), one)
        inverse = inverse.astype(np.float32)
        zero = -low * inverse
        codes = np.clip(np.rint(x * inverse[:, None] + zero[:, None]), 0, 15)
        parameters = ((one / inverse).view(np.uint32), zero.view(np.uint32))
        s, z = (p[:, None] for p in parameters)
        return {"s": s, "z": z, "q": np.nan_to_num(codes).astype(np.uint8)}

    return lambda: replace(refquant.scheme(NAME), encode=encode)


MUTANTS = (
    Mutant("hqq-swapped", NAME, "first weight in the high half of a byte", swapped),
    Mutant(
        "hqq-bias",
        NAME,
        "the zero point read as a bias",
        with_value(NAME, ("add", ("mul", "q", "s"), "z")),
    ),
    Mutant(
        "hqq-off-by-one",
        NAME,
        "the zero point one too small",
        with_value(NAME, ("mul", ("sub", "q", ("add", "z", 1.0)), "s")),
    ),
    Mutant("hqq-rounded", NAME, "the zero point rounded", other("zero=rounded")),
    Mutant(
        "hqq-divided", NAME, "the inverse scale by one division", variant(divide=True, limit=True)
    ),
    Mutant(
        "hqq-unlimited",
        NAME,
        "narrow ranges are scaled as others",
        variant(divide=False, limit=False),
    ),
)

SOLVED = "hqq/affine[bits=4,group=64,solver=proximal]"
PACKED = "hqq/affine[bits=4,group=64,packing=package]"


def solved(**changes: float) -> Callable[[], Scheme]:
    """The solver with another strength, norm or number of rounds."""
    spelled = ",".join(f"{name}={value}" for name, value in changes.items())
    encode = refquant.scheme(f"hqq/affine[bits=4,group=64,solver=proximal,{spelled}]").encode
    return lambda: replace(refquant.scheme(SOLVED), encode=encode)


def halves_exchanged() -> Scheme:
    """The first half of the groups in the low bits, as quanto has it."""
    true = refquant.scheme(PACKED)
    fields = {**true.layout.fields, "q": field("codes", Unsigned(4), "0", "4")}
    return replace(true, layout=replace(true.layout, fields=fields))


MUTANTS = (
    *MUTANTS,
    Mutant("hqq-norm", SOLVED, "the solver makes the norm of 0.5 small", solved(lp="0.5")),
    Mutant("hqq-strength", SOLVED, "the solver's beta is 11", solved(beta=11)),
    Mutant("hqq-rounds", SOLVED, "one round of the solver", solved(iters=1)),
    Mutant("hqq-halves", PACKED, "the first half in the low bits", halves_exchanged),
)
