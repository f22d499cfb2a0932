"""Wrong AWQ words: GPTQ's order and zero points."""

from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_fields, with_value
from refquant.layout import Unsigned, field

__all__ = ["MUTANTS"]

NAME = "awq/int4[group=32]"
INVERSE = [str(4 * column) for column in (0, 2, 4, 6, 1, 3, 5, 7)]

MUTANTS = (
    Mutant(
        "awq-plain-order",
        NAME,
        "columns in order, as in GPTQ",
        with_fields(NAME, q=field("qweight", Unsigned(4), "8:4+0", over=(1, 1))),
    ),
    Mutant(
        "awq-inverse-order",
        NAME,
        "column k at nibble 0, 2, 4, 6, 1, 3, 5, 7: the order's inverse",
        with_fields(NAME, q=field("qweight", Unsigned(4), *INVERSE, over=(1, 1))),
    ),
    Mutant(
        "awq-zeros-plain-order",
        NAME,
        "zero points in order",
        with_fields(NAME, z=field("qzeros", Unsigned(4), "8:4+0", over=(1, 32))),
    ),
    Mutant(
        "awq-zero-less-one",
        NAME,
        "zero points stored less one, as in GPTQ",
        with_value(NAME, ("mul", "s", ("sub", "q", ("add", "z", 1.0)))),
    ),
)
