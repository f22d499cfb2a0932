"""Wrong DiffuLex rows and casts."""

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.aeq import with_rule
from conformance.mutants.schemes.float import encoded, flushed_float16, read_as, saturated_float16
from conformance.mutants.wrong_layouts import with_codes
from refquant.layout import Unsigned

__all__ = ["MUTANTS"]

INT8, FP16 = "diffulex/int8", "diffulex/fp16"

MUTANTS = (
    Mutant("diffulex-int8-divisor", INT8, "scale over 127.5", with_rule(INT8, divisor="half")),
    Mutant("diffulex-int8-reciprocal", INT8, "times 1/scale", with_rule(INT8, by="reciprocal")),
    Mutant("diffulex-int8-half-away", INT8, "ties away", with_rule(INT8, round="half_away")),
    Mutant("diffulex-int8-floor", INT8, "rows of zeros get 2**-23", with_rule(INT8, floor="eps")),
    Mutant("diffulex-int8-unsigned", INT8, "codes unsigned", with_codes(INT8, Unsigned(8), "0")),
    Mutant("diffulex-fp16-saturated", FP16, "65504 at most", encoded(FP16, saturated_float16)),
    Mutant("diffulex-fp16-flushed", FP16, "subnormals flushed", encoded(FP16, flushed_float16)),
    Mutant(
        "diffulex-fp16-as-bf16",
        FP16,
        "bytes read as bfloat16",
        read_as(FP16, refquant.scheme("bf16").layout.fields["w"].element),
    ),
)
