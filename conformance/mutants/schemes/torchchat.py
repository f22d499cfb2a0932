"""Wrong torchchat codes: nibbles the usual way round, scales stored before they divide."""

from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.aeq import with_rule
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.layout import Signed, Unsigned

__all__ = ["MUTANTS"]

PACKED = "torchchat/embedding[bits=4,group=32]"
TABLE = "torchchat/embedding[bits=8,channel]"
TABLE_BF16 = "torchchat/embedding[bits=8,channel,scale=bf16]"
INT8 = "torchchat/int8[channel]"
INT8_BF16 = "torchchat/int8[group=32,scale=bf16]"

MUTANTS = (
    Mutant(
        "torchchat-embedding-low-first",
        PACKED,
        "the even column in the low nibble",
        with_codes(PACKED, Unsigned(4), "2:4"),
    ),
    Mutant(
        "torchchat-embedding-signed",
        PACKED,
        "nibbles read as two's complement, without the 8",
        with_codes(PACKED, Signed(4), "4", "0"),
    ),
    Mutant(
        "torchchat-embedding-offset",
        PACKED,
        "7 subtracted in place of 8",
        with_value(PACKED, ("mul", "s", ("sub", "q", 7.0))),
    ),
    Mutant(
        "torchchat-embedding-reciprocal",
        TABLE,
        "weights times 1/scale",
        with_rule(TABLE, by="reciprocal"),
    ),
    Mutant(
        "torchchat-embedding-stored",
        TABLE_BF16,
        "codes chosen by the stored scale",
        with_rule(TABLE_BF16, using="stored"),
    ),
    Mutant("torchchat-int8-divisor", INT8, "scale over 127", with_rule(INT8, divisor="qmax")),
    Mutant("torchchat-int8-reciprocal", INT8, "times 1/scale", with_rule(INT8, by="reciprocal")),
    Mutant("torchchat-int8-narrow", INT8, "-128 is not used", with_rule(INT8, range="narrow")),
    Mutant("torchchat-int8-floor", INT8, "scales from 2**-126", with_rule(INT8, floor="tiny")),
    Mutant(
        "torchchat-int8-stored",
        INT8_BF16,
        "codes chosen by the stored scale",
        with_rule(INT8_BF16, using="stored"),
    ),
)
