"""Wrong tract blocks: ggml's rules under the same names, and other roundings."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.schemes.t2n import encoded_as, laid_out
from refquant.layout import Signed, Unsigned, field
from refquant.numerics import float16_bits

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
Q40, Q8_1, Q2_0T = "tract/q40", "tract/q8_1", "tract/q2_0t"


def encode_of_stored_scale(x: F32) -> dict[str, NDArray[np.integer]]:
    """Codes that follow the mean magnitude after its rounding to float16."""
    found = dict(refquant.scheme(Q2_0T).encode(x))
    scale = found["d"].view(np.float16).astype(np.float32)[:, None]
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale != 0)
    whole = np.trunc(quotient + np.copysign(np.float32(0.5), quotient))
    return found | {"q": (np.clip(whole, -1, 1) + 1).astype(np.uint8)}


def encode_half_even(x: F32) -> dict[str, NDArray[np.integer]]:
    """Ties of ternary codes to even: half of the mean becomes zero."""
    found = dict(refquant.scheme(Q2_0T).encode(x))
    total = np.add.accumulate(np.abs(x), axis=1)[:, -1:]
    scale = total / np.float32(32)
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale != 0)
    return found | {"q": (np.clip(np.rint(quotient), -1, 1) + 1).astype(np.uint8)}


def encode_largest(x: F32) -> dict[str, NDArray[np.integer]]:
    """The largest magnitude in place of the mean, as in TQ2_0."""
    found = dict(refquant.scheme(Q2_0T).encode(x))
    return found | {"d": float16_bits(np.abs(x).max(axis=1))}


MUTANTS = (
    Mutant(
        "tract-q40-c-casts",
        Q40,
        "C's conversion of what does not fit, as in ggml",
        encoded_as(Q40, "ggml/q4_0"),
    ),
    Mutant(
        "tract-q40-negative-scale",
        Q40,
        "scale from the magnitude, as in torch-to-nnef",
        encoded_as(Q40, "t2n/q40"),
    ),
    Mutant(
        "tract-q40-pairs",
        Q40,
        "neighbours in one byte, as before 0.21.11",
        laid_out(Q40, q=field("blocks", Unsigned(4), "32:4+16")),
    ),
    Mutant(
        "tract-q8_1-magnitude",
        Q8_1,
        "scale from the magnitude, and the sum of codes, as in ggml",
        encoded_as(Q8_1, "ggml/q8_1"),
    ),
    Mutant(
        "tract-q8_1-unsigned",
        Q8_1,
        "codes read as unsigned",
        laid_out(Q8_1, q=field("blocks", Unsigned(8), "32:8+32")),
    ),
    Mutant(
        "tract-q8_1-sum-first",
        Q8_1,
        "the sum before the scale",
        laid_out(
            Q8_1,
            d=replace(
                refquant.scheme(Q8_1).layout.fields["d"],
                pieces=refquant.scheme(Q8_1).layout.fields["s"].pieces,
            ),
            s=replace(
                refquant.scheme(Q8_1).layout.fields["s"],
                pieces=refquant.scheme(Q8_1).layout.fields["d"].pieces,
            ),
        ),
    ),
    Mutant(
        "tract-q2_0t-half-even",
        Q2_0T,
        "ties to even",
        lambda: replace(refquant.scheme(Q2_0T), encode=encode_half_even),
    ),
    Mutant(
        "tract-q2_0t-stored-scale",
        Q2_0T,
        "codes follow the stored scale",
        lambda: replace(refquant.scheme(Q2_0T), encode=encode_of_stored_scale),
    ),
    Mutant(
        "tract-q2_0t-largest",
        Q2_0T,
        "the largest magnitude as scale",
        lambda: replace(refquant.scheme(Q2_0T), encode=encode_largest),
    ),
    Mutant(
        "tract-q2_0t-signed",
        Q2_0T,
        "codes read as two's complement",
        laid_out(Q2_0T, q=field("blocks", Signed(2), "32:2+16")),
    ),
)
