"""Correctly rounded arithmetic: the binary32 number nearest to the real result, on every machine.

A product of matrices, a sum, an exponential or a cosine has one real value. Rounded once to
binary32, ties to even, it is one bit pattern, whatever the processor, the order of additions or
the mathematical library. `spec/arithmetic.md` states the functions for other engines.

How: compute in binary64 with a bound of the error. Where both ends of the error interval round to
the same binary32 number, that number is the result. The few others are done again in integers
(`real_functions.py`) or by an exact sum, until the rounding is certain.
"""

from refquant.arithmetic.correctly_rounded.angles import rotary_frequencies, rotary_table
from refquant.arithmetic.correctly_rounded.elementary import (
    cos,
    erf,
    exp,
    log,
    power,
    reciprocal_sqrt,
    sin,
    tanh,
)
from refquant.arithmetic.correctly_rounded.sums import matmul, row_norms, sum_of_squares, sum_rows

__all__ = [
    "cos",
    "erf",
    "exp",
    "log",
    "matmul",
    "power",
    "reciprocal_sqrt",
    "rotary_frequencies",
    "rotary_table",
    "row_norms",
    "sin",
    "sum_of_squares",
    "sum_rows",
    "tanh",
]
