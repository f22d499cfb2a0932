"""Wrong torch-to-nnef formats: the other producers' rules, and the other packing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Layout, Signed, Unsigned, field
from refquant.schemes.floats import FLOAT16

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
Q40, LEGACY = "t2n/q40[mode=strict]", "t2n/q40_legacy[mode=strict]"
HIGH_FIRST = [str(16 + 8 * (k // 2) + 4 * (1 - k % 2)) for k in range(32)]
QINT8, QUINT8 = "t2n/qint8", "t2n/quint8[zero=fused]"


def encoded_as(name: str, other: str) -> Callable[[], Scheme]:
    """The scheme with another one's encoder."""
    return lambda: replace(refquant.scheme(name), encode=refquant.scheme(other).encode)


def laid_out(name: str, **fields: object) -> Callable[[], Scheme]:
    """The scheme with some fields elsewhere, or another formula under `value`."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        value = fields.pop("value", true.layout.value)
        layout = Layout(true.planes, {**true.layout.fields, **fields}, value)
        return replace(true, layout=layout)

    return build


def lower_extreme(x: F32) -> dict[str, NDArray[np.integer]]:
    """Ties rounded half down: ceil(x / scale + 7.5)."""
    found = dict(refquant.scheme(Q40).encode(x))
    scale = found["d"].view(np.float16).astype(np.float32)
    inverse = np.divide(np.float32(1), scale, out=scale.copy(), where=scale != 0)
    exact = np.nan_to_num(x * inverse[:, None] + np.float32(7.5), nan=0, posinf=15, neginf=0)
    return found | {"q": np.clip(np.ceil(exact), 0, 15).astype(np.uint8)}


def shifted_zero(x: F32) -> dict[str, NDArray[np.integer]]:
    """The zero point one too large, as where -min / scale is rounded up."""
    found = dict(refquant.scheme(QUINT8).encode(x))
    return found | {"z": np.minimum(found["z"].astype(np.int16) + 1, 255).astype(np.uint8)}


MUTANTS = (
    Mutant(
        "t2n-q40-signed-extreme",
        Q40,
        "scale from the signed extreme, as in ggml",
        encoded_as(Q40, "ggml/q4_0"),
    ),
    Mutant(
        "t2n-q40-wide-reciprocal",
        Q40,
        "the reciprocal in binary32",
        encoded_as(Q40, "t2n/q40[mode=fixed]"),
    ),
    Mutant(
        "t2n-q40-half-down",
        Q40,
        "ties rounded down",
        lambda: replace(refquant.scheme(Q40), encode=lower_extreme),
    ),
    Mutant(
        "t2n-q40-pairs",
        Q40,
        "neighbours in one byte, as before tract 0.21.11",
        laid_out(Q40, q=field("blocks", Unsigned(4), "32:4+16")),
    ),
    Mutant(
        "t2n-q40-signed-codes",
        Q40,
        "codes read as two's complement",
        laid_out(Q40, q=field("blocks", Signed(4), "(2,16):(4,8)+16")),
    ),
    Mutant(
        "t2n-legacy-halves",
        LEGACY,
        "halves of the block in low and high nibbles",
        laid_out(LEGACY, q=field("blocks", Unsigned(4), "(2,16):(4,8)+16")),
    ),
    Mutant(
        "t2n-legacy-high-first",
        LEGACY,
        "the first of two neighbours in the high nibble",
        laid_out(LEGACY, q=field("blocks", Unsigned(4), *HIGH_FIRST)),
    ),
    Mutant(
        "t2n-legacy-scale-last",
        LEGACY,
        "the scale after the codes",
        laid_out(
            LEGACY,
            d=field("blocks", FLOAT16, "128", over=32),
            q=field("blocks", Unsigned(4), "32:4+0"),
        ),
    ),
    Mutant(
        "t2n-qint8-127",
        QINT8,
        "scale over 127",
        encoded_as(QINT8, "int/affine[bits=8,sym,tensor,by=reciprocal,floor=eps]"),
    ),
    Mutant(
        "t2n-qint8-narrow",
        QINT8,
        "code -128 left out",
        encoded_as(QINT8, "int/affine[bits=8,sym,tensor,divisor=half,by=reciprocal,floor=eps]"),
    ),
    Mutant(
        "t2n-qint8-floor",
        QINT8,
        "zero tensors get a scale of 1",
        encoded_as(QINT8, "int/affine[bits=8,sym,tensor,divisor=half,range=full,by=reciprocal]"),
    ),
    Mutant(
        "t2n-quint8-after",
        QUINT8,
        "zero point added after rounding",
        encoded_as(QUINT8, "t2n/quint8[zero=after]"),
    ),
    Mutant(
        "t2n-quint8-signed",
        QUINT8,
        "codes read as two's complement",
        laid_out(QUINT8, q=field("codes", Signed(8), "0")),
    ),
    Mutant(
        "t2n-quint8-zero",
        QUINT8,
        "zero point one too large",
        lambda: replace(refquant.scheme(QUINT8), encode=shifted_zero),
    ),
)

P99 = "t2n/q40[mode=strict,percentile=99]"

MUTANTS = (
    *MUTANTS,
    Mutant(
        "t2n-quint8-tract-after",
        "t2n/quint8[zero=tract]",
        "zero=tract: the zero point added after rounding",
        encoded_as("t2n/quint8[zero=tract]", "t2n/quint8[zero=after]"),
    ),
    Mutant("t2n-q40-percentile", P99, "the largest magnitude covered", encoded_as(P99, Q40)),
)
