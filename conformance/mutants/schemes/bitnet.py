"""Wrong ternary tensors: the other processor's blocks, and other orders in a byte."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_value
from refquant.driver import Scheme
from refquant.layout import Layout, Unsigned, field

__all__ = ["MUTANTS"]

NAME = "bitnet/i2_s[block=128]"


def reread(*places: str) -> Scheme:
    """Codes in other bits."""
    true = refquant.scheme(NAME)
    fields = {**true.layout.fields, "q": field("codes", Unsigned(2), *places)}
    return replace(true, layout=Layout(true.planes, fields, true.layout.value))


def with_mean() -> Scheme:
    """The mean magnitude as scale, as in BitNet's own recipe."""
    true = refquant.scheme(NAME)

    def encode(x: NDArray[np.float32]) -> dict[str, NDArray[np.integer]]:
        scale = np.abs(x).mean(axis=1, dtype=np.float32)
        return dict(true.encode(x)) | {"s": scale.view(np.uint32)[:, None]}

    return replace(true, encode=encode)


ARM = [f"16:8+{128 * half + shift}" for half in (0, 1) for shift in (6, 4, 2, 0)]

MUTANTS = (
    Mutant("i2_s-arm", NAME, "blocks of 64, as on ARM", lambda: reread(*ARM)),
    Mutant(
        "i2_s-low-first",
        NAME,
        "the first quarter in the lowest bits",
        lambda: reread("32:8+0", "32:8+2", "32:8+4", "32:8+6"),
    ),
    Mutant("i2_s-neighbours", NAME, "four neighbours in a byte", lambda: reread("128:2+0")),
    Mutant("i2_s-mean", NAME, "the mean magnitude as scale", with_mean),
    Mutant(
        "i2_s-no-offset",
        NAME,
        "codes read without taking 1 off",
        with_value(NAME, ("mul", "s", "q")),
    ),
)
