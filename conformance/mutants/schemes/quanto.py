"""Wrong quanto members: other divisors, shifts, orders of bits and elements."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.driver import Scheme
from refquant.layout import Element, Unsigned
from refquant.schemes.small_floats import FLOAT8_E4M3FN, FLOAT8_E4M3FNUZ

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]

EIGHT = {
    kind: f"quanto/{kind}[channel]"
    for kind in ("qint8", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2")
}
GROUPS = {bits: f"quanto/qint{bits}[group=128]" for bits in (4, 2)}
OTHERS: dict[str, tuple[Element, str]] = {
    "qint8": (Unsigned(8), "unsigned integers"),
    "qfloat8_e4m3fn": (FLOAT8_E4M3FNUZ, "E4M3FNUZ"),
    "qfloat8_e4m3fnuz": (FLOAT8_E4M3FN, "E4M3FN"),
    "qfloat8_e5m2": (FLOAT8_E4M3FN, "E4M3FN"),
}


def fed(name: str, factor: float) -> Scheme:
    """Scales too large by a factor: the largest weight of a group is made larger."""
    true = refquant.scheme(name)

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(true.encode(x)) if true.encode else {}
        scale = found["s"].view(np.float32) * np.float32(factor)
        return found | {"s": scale.view(np.uint32)}

    return replace(true, encode=encode)


def truncated(name: str) -> Scheme:
    """Weights lose bits before they are rounded."""
    true = refquant.scheme(name)

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        kept = (x.view(np.uint32) & np.uint32(0xFFFE0000)).view(np.float32)
        return dict(true.encode(kept)) if true.encode else {}

    return replace(true, encode=encode)


def other(name: str, knobs: str) -> Scheme:
    """The encoder of other knobs, its zero point stored as a shift."""
    true, wrong = refquant.scheme(name), refquant.scheme(f"{name[:-1]},{knobs}]")

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(wrong.encode(x)) if wrong.encode else {}
        scale = found["s"].view(np.float32)
        shift = scale * found["z"].astype(np.float32)
        return found | {"z": shift.view(np.uint32)}

    return replace(true, encode=encode)


def mutants_of_bytes(kind: str, name: str) -> tuple[Mutant, ...]:
    """Three for each type of eight bits."""
    short = kind.replace("_", "-")
    element, words = OTHERS[kind]
    read = with_codes(name, element, "0")
    return (
        Mutant(f"quanto-{short}-misread", name, f"codes read as {words}", read),
        Mutant(
            f"quanto-{short}-scale",
            name,
            "the scale is over half a step more",
            partial(fed, name, 255 / 254),
        ),
        Mutant(f"quanto-{short}-truncated", name, "weights truncated", partial(truncated, name)),
    )


def mutants_of_groups(bits: int, name: str) -> tuple[Mutant, ...]:
    """Four for each type of fewer bits."""
    places = [str(bits * k) for k in reversed(range(8 // bits))]
    return (
        Mutant(
            f"quanto-qint{bits}-high-first",
            name,
            "the first code of a byte in its high bits",
            with_codes(name, Unsigned(bits), *places),
        ),
        Mutant(
            f"quanto-qint{bits}-added",
            name,
            "the shift is added",
            with_value(name, ("add", ("mul", "s", "q"), "z")),
        ),
        Mutant(
            f"quanto-qint{bits}-zero-point",
            name,
            "the shift is read as a zero point",
            with_value(name, ("mul", "s", ("sub", "q", "z"))),
        ),
        Mutant(
            f"quanto-qint{bits}-integer",
            name,
            "the shift is rounded to steps",
            partial(other, name, "shift=integer"),
        ),
    )


MUTANTS = (
    *(m for kind, name in EIGHT.items() for m in mutants_of_bytes(kind, name)),
    *(m for bits, name in GROUPS.items() for m in mutants_of_groups(bits, name)),
)
