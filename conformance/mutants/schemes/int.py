"""Wrong integer codes with scales: the mistakes of frameworks that call them all "int8"."""

from collections.abc import Callable
from dataclasses import replace

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.driver import Scheme
from refquant.layout import Signed, Unsigned

__all__ = ["MUTANTS"]

INT8 = "int/affine[bits=8,sym,channel]"
INT4 = "int/affine[bits=4,asym,group=32]"


def with_knobs(name: str, knobs: str) -> Callable[[], Scheme]:
    """The encoder of another point of the family in place of the right one."""
    return lambda: replace(
        refquant.scheme(name), encode=refquant.scheme(f"{name[:-1]},{knobs}]").encode
    )


MUTANTS = (
    Mutant("int8-unsigned", INT8, "codes read as unsigned", with_codes(INT8, Unsigned(8), "0")),
    Mutant("int8-half-away", INT8, "ties away from zero", with_knobs(INT8, "round=half_away")),
    Mutant(
        "int8-divisor", INT8, "scale from half the steps, 127.5", with_knobs(INT8, "divisor=half")
    ),
    Mutant("int8-reciprocal", INT8, "weights times 1/scale", with_knobs(INT8, "by=reciprocal")),
    Mutant("int8-floor", INT8, "zero groups get a scale of 2**-23", with_knobs(INT8, "floor=eps")),
    Mutant("int4-swapped", INT4, "nibbles swapped", with_codes(INT4, Signed(4), "4", "0")),
    Mutant("int4-unsigned", INT4, "codes read as unsigned", with_codes(INT4, Unsigned(4), "2:4")),
    Mutant(
        "int4-zero-ignored",
        INT4,
        "zero point left out",
        with_value(INT4, ("mul", "s", ("add", "q", ("mul", "z", 0.0)))),
    ),
    Mutant(
        "int4-zero-off-by-one",
        INT4,
        "zero point one too small",
        with_value(INT4, ("mul", "s", ("sub", "q", ("add", "z", 1.0)))),
    ),
    Mutant(
        "int4-zero-added",
        INT4,
        "zero point added",
        with_value(INT4, ("mul", "s", ("add", "q", "z"))),
    ),
    Mutant(
        "int4-zero-before",
        INT4,
        "zero point added before rounding",
        with_knobs(INT4, "zero=before,round=half_away"),
    ),
    Mutant("int4-extent", INT4, "the range need not hold 0.0", with_knobs(INT4, "extent=data")),
)
