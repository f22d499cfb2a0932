"""ggml's formats whose codebooks are pure tables, read from the installed `gguf` package.

IQ1, IQ2 and IQ3 of ggml store indexes of vectors of 4 or 8 small numbers. The vectors follow no
formula and are not copied into this project: `pip install refquant[iq]` brings them. They decode
only; a layout made here carries its tables, so a file that has one needs no package to be read.
Used by llama.cpp for files below 3.5 bits a weight.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import UnsupportedError
from refquant.layout import Expression, Field, Layout, Plane, Unsigned, field
from refquant.schemes.floats import FLOAT16

__all__ = ["CODEBOOKS", "Codebook", "codebook_scheme"]

F32 = NDArray[np.float32]

SUPER = 256
QUARTER, HALF, DELTA = 0.25, 0.5, 0.125

SIGN = np.array([1, -1], np.float32)
DELTAS = np.array([DELTA, -DELTA], np.float32)


PRIVATE = "refquant_private_gguf"


def _quants() -> ModuleType:
    """The module `gguf.quants` without its package, which loads readers, writers and vocabularies.

    That would take twice as long as NumPy itself. A package of another name is made for the same
    folder, and its own first file is not run; who imports `gguf` gets all of it as ever.
    """
    whole = find_spec("gguf")
    if whole is None or whole.origin is None:
        raise ImportError("there is no package gguf")
    folders = list(whole.submodule_search_locations or ())
    alone = spec_from_file_location(PRIVATE, whole.origin, submodule_search_locations=folders)
    if alone is None:
        raise ImportError("the package gguf has no folder")
    sys.modules.setdefault(PRIVATE, module_from_spec(alone))
    return import_module(f"{PRIVATE}.quants")


def _vectors(kind: str) -> F32:  # -> f32[entries * numbers]
    """The codebook of one format, entry after entry."""
    try:
        quants = _quants()
    except ImportError as error:
        raise UnsupportedError(
            f"ggml/{kind.lower()} needs the codebook of the gguf package; "
            "run `pip install refquant[iq]`"
        ) from error
    found = getattr(quants, kind)
    found.init_grid()
    return np.ascontiguousarray(found.grid, np.float32).reshape(-1)


def _signs() -> F32:  # -> f32[128 * 8]
    """Seven signs and, in the eighth place, the one that makes the number of minuses even."""
    codes = np.arange(128)
    bits = codes[:, None] >> np.arange(7) & 1
    eighth = np.bitwise_xor.reduce(bits, axis=1, keepdims=True)
    signs: F32 = SIGN[np.concatenate([bits, eighth], axis=1)]
    return signs.reshape(-1)


def _u(bits: int, *pieces: str | tuple[tuple[int, str], ...], over: int) -> Field:
    return field("blocks", Unsigned(bits), *pieces, over=over)


HALF_SCALE: Expression = ("mul", "d", ("add", HALF, "sc"))
ODD_SCALE: Expression = ("mul", "d", ("add", ("mul", 2.0, "sc"), 1.0))
NUMBER: Expression = ("lut", "vectors", "v")
QUARTER_SCALE: Expression = ("mul", HALF_SCALE, QUARTER)
SIGNS: Expression = ("lut", "signs", "s")
FIRST = field("blocks", FLOAT16, "0", over=SUPER)


@dataclass(frozen=True)
class Codebook:
    """A format but for its vectors: known without the package that brings them.

    `kind` is its name in gguf, `size` the bytes of a record of 256 weights.
    """

    kind: str
    size: int
    title: str
    fields: Mapping[str, Field]
    value: Expression
    tables: Mapping[str, F32] = dataclass_field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its scheme."""
        return f"ggml/{self.kind.lower()}"

    @property
    def label(self) -> str:
        """The title of its scheme."""
        return f"{self.title} (decode only, needs refquant[iq])"

    @property
    def bits_per_weight(self) -> Fraction:
        """Stored bits over weights."""
        return Fraction(8 * self.size, SUPER)

    def scheme(self) -> Scheme:
        """The scheme with the vectors of the installed package; `UnsupportedError` without it."""
        tables = {"vectors": _vectors(self.kind), **self.tables}
        layout = Layout({"blocks": Plane((SUPER,), self.size)}, self.fields, self.value, tables)
        return Scheme(self.name, self.label, layout, encode=None, group=(SUPER,))


def _signed(scale: Expression) -> Expression:
    return ("mul", ("mul", scale, NUMBER), SIGNS)


SHIFTED: Expression = ("add", NUMBER, ("lut", "shifts", "b"))

IQ2_XXS = Codebook(
    "IQ2_XXS",
    66,
    "vectors of 8 out of 256, signs in sevens, a 4-bit scale for 32 of 256 weights",
    {
        "d": FIRST,
        "v": _u(8, "(8,4):(64,8)+16", over=8),
        "s": _u(7, "(8,4):(64,7)+48", over=8),
        "sc": _u(4, "8:64+76", over=32),
    },
    _signed(QUARTER_SCALE),
    {"signs": _signs()},
)
"""Pairs of 32-bit words: four indexes, then four times 7 sign bits and a scale."""

IQ2_XS = Codebook(
    "IQ2_XS",
    74,
    "vectors of 8 out of 512, signs in sevens, a 4-bit scale for 16 of 256 weights",
    {
        "d": FIRST,
        "v": _u(9, "32:16+16", over=8),
        "s": _u(7, "32:16+25", over=8),
        "sc": _u(4, "16:4+528", over=16),
    },
    _signed(QUARTER_SCALE),
    {"signs": _signs()},
)
"""16-bit words of a 9-bit index and 7 sign bits."""

IQ2_S = Codebook(
    "IQ2_S",
    82,
    "vectors of 8 out of 1024, a sign bit each, a 4-bit scale for 16 of 256 weights",
    {
        "d": FIRST,
        "v": _u(10, ((8, "32:8+16"), (2, "32:2+528")), over=8),
        "s": _u(1, "256:1+272", over=1),
        "sc": _u(4, "16:4+592", over=16),
    },
    _signed(QUARTER_SCALE),
    {"signs": SIGN},
)
"""10-bit indexes in two places, and a sign bit for every weight."""

IQ3_XXS = Codebook(
    "IQ3_XXS",
    98,
    "vectors of 4 out of 256, signs in sevens, a 4-bit scale for 32 of 256 weights",
    {
        "d": FIRST,
        "v": _u(8, "64:8+16", over=4),
        "s": _u(7, "(8,4):(32,7)+528", over=8),
        "sc": _u(4, "8:32+556", over=32),
    },
    _signed(("mul", HALF_SCALE, HALF)),
    {"signs": _signs()},
)
"""8-bit indexes of vectors of 4, then 32-bit words of signs and scales."""

IQ3_S = Codebook(
    "IQ3_S",
    110,
    "vectors of 4 out of 512, a sign bit each, a 4-bit scale for 32 of 256 weights",
    {
        "d": FIRST,
        "v": _u(9, ((8, "64:8+16"), (1, "64:1+528")), over=4),
        "s": _u(1, "256:1+592", over=1),
        "sc": _u(4, "8:4+848", over=32),
    },
    _signed(ODD_SCALE),
    {"signs": SIGN},
)
"""9-bit indexes of vectors of 4 in two places, and a sign bit for every weight."""

IQ1_S = Codebook(
    "IQ1_S",
    50,
    "vectors of 8 out of 2048, a shift and a 3-bit scale for 32 of 256 weights",
    {
        "d": FIRST,
        "v": _u(11, ((8, "32:8+16"), (3, "(8,4):(16,3)+272")), over=8),
        "b": _u(1, "8:16+287", over=32),
        "sc": _u(3, "8:16+284", over=32),
    },
    ("mul", ODD_SCALE, SHIFTED),
    {"shifts": DELTAS},
)
"""11-bit indexes of vectors of -1, 0, 1, shifted by an eighth up or down."""

IQ1_M = Codebook(
    "IQ1_M",
    56,
    "vectors of 8 out of 2048, a shift for 8 and a 3-bit scale for 16 of 256 weights",
    {
        "d": field("blocks", FLOAT16, ((4, "396"), (4, "412"), (4, "428"), (4, "444")), over=SUPER),
        "v": _u(11, ((8, "32:8"), (3, "32:4+256")), over=8),
        "b": _u(1, "32:4+259", over=8),
        "sc": _u(3, "(4,4):(16,3)+384", over=16),
    },
    ("mul", ODD_SCALE, SHIFTED),
    {"shifts": DELTAS},
)
"""As IQ1_S with finer shifts and scales; the float16 unit lies in the tops of four words."""

CODEBOOKS: Mapping[str, Codebook] = {
    found.name: found for found in (IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S)
}
"""Formats that are made when they are first asked for, and fail without the package."""


@cache
def codebook_scheme(name: str) -> Scheme:
    """The scheme of one of `CODEBOOKS`, made once."""
    return CODEBOOKS[name].scheme()
