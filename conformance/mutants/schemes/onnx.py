"""Wrong ONNX tensors: other roundings, zero points, divisors and nibble orders."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_value
from refquant.driver import Scheme
from refquant.layout import Layout, Signed, Unsigned, field
from refquant.numerics import round_half_away

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]

KINDS = {"int4": Signed(4), "uint4": Unsigned(4), "int8": Signed(8), "uint8": Unsigned(8)} | {
    "int16": Signed(16)
}
LINEAR = {kind: f"onnx/{kind}[asym,block=16]" for kind in KINDS} | {"dynamic": "onnx/dynamic_uint8"}
MATMUL = {bits: f"onnx/matmul{bits}bits[asym,block=16]" for bits in (2, 4, 8)}


def recoded(name: str, *, before: bool = False, away: bool = False) -> Callable[[], Scheme]:
    """Codes with the zero point added before rounding, or with ties away from zero."""
    true = refquant.scheme(name)
    element = true.layout.fields["q"].element

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(true.encode(x))
        z = found["z"].astype(np.float32)
        quotient = x / found["s"].view(np.float32)
        nearest = round_half_away if away else np.rint
        exact = nearest(quotient + z) if before else nearest(quotient) + z
        low = -(1 << (element.bits - 1)) if isinstance(element, Signed) else 0
        codes = np.clip(exact, low, low + (1 << element.bits) - 1)
        return found | {"q": codes.astype(found["q"].dtype)}

    return lambda: replace(true, encode=encode)


def reread(name: str, *places: str, element: Signed | Unsigned) -> Callable[[], Scheme]:
    """Codes in other bits, or of another type."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        plane = true.layout.fields["q"].plane
        fields = {**true.layout.fields, "q": field(plane, element, *places)}
        return replace(true, layout=Layout(true.planes, fields, true.layout.value))

    return build


def other_sign(kind: str) -> Signed | Unsigned:
    """The type of the same width with, or without, a sign."""
    element = KINDS.get(kind, Unsigned(8))
    return Unsigned(element.bits) if isinstance(element, Signed) else Signed(element.bits)


ADDED = ("mul", ("add", "q", "z"), "s")

MUTANTS = (
    *(
        Mutant(
            f"onnx-{kind}-zero-before",
            name,
            "the zero point is added before rounding",
            recoded(name, before=True, away=True),
        )
        for kind, name in LINEAR.items()
    ),
    *(
        Mutant(f"onnx-{kind}-zero-added", name, "the zero point is added", with_value(name, ADDED))
        for kind, name in LINEAR.items()
    ),
    *(
        Mutant(
            f"onnx-{kind}-sign",
            name,
            "codes of the type with the other sign",
            reread(name, "2:4+0" if other_sign(kind).bits == 4 else "0", element=other_sign(kind)),
        )
        for kind, name in LINEAR.items()
    ),
    *(
        Mutant(
            f"onnx-{kind}-high-first",
            LINEAR[kind],
            "the first code in the high nibble",
            reread(LINEAR[kind], "4", "0", element=KINDS[kind]),
        )
        for kind in ("int4", "uint4")
    ),
    *(
        Mutant(
            f"onnx-matmul{bits}-signed",
            name,
            "codes read as two's complement",
            reread(name, f"16:{bits}+0", element=Signed(bits)),
        )
        for bits, name in MATMUL.items()
    ),
    *(
        Mutant(
            f"onnx-matmul{bits}-half-away",
            name,
            "ties away from zero",
            recoded(name, away=True),
        )
        for bits, name in MATMUL.items()
    ),
    *(
        Mutant(
            f"onnx-matmul{bits}-zero-ignored",
            name,
            "the zero point is left out",
            with_value(name, ("mul", ("add", "q", ("mul", "z", 0.0)), "s")),
        )
        for bits, name in MATMUL.items()
    ),
)
