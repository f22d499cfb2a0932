"""All schemes under their names: one literal table, read from top to bottom."""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from types import ModuleType

from refquant.driver import Scheme
from refquant.errors import UnknownSchemeError, UnsupportedError, UsageError
from refquant.layout import Layout
from refquant.schemes import (
    aeq,
    affine,
    awq,
    bitnet,
    bnb,
    ct,
    diffulex,
    floats,
    ggml,
    gptq,
    hqq,
    mlx,
    mx,
    onnx,
    powers,
    quanto,
    small_floats,
    t2n,
    tflite,
    torchao,
    torchchat,
    tract,
)
from refquant.schemes.codebooks import CODEBOOKS, codebook_scheme
from refquant.schemes.names import Family, read_name
from refquant.schemes.storage import StoredLayout, stored_layout

__all__ = [
    "ALIASES",
    "FAMILIES",
    "SCHEMES",
    "scheme",
    "scheme_of_layout",
    "scheme_of_stored",
    "schemes",
    "schemes_with_codebooks",
]

SCHEMES: Mapping[str, Scheme] = {
    found.name: found
    for found in (
        *floats.SCHEMES,
        *small_floats.SCHEMES,
        *aeq.SCHEMES,
        *diffulex.SCHEMES,
        *ggml.SCHEMES,
        *t2n.SCHEMES,
        *tract.SCHEMES,
        *onnx.SCHEMES,
        *mx.SCHEMES,
        *bnb.SCHEMES,
        *mlx.SCHEMES,
        *hqq.SCHEMES,
    )
}
"""Schemes without knobs."""

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        affine.AFFINE,
        *small_floats.FAMILIES,
        *powers.FAMILIES,
        *ggml.FAMILIES,
        *aeq.FAMILIES,
        *torchao.FAMILIES,
        *torchchat.FAMILIES,
        *mx.FAMILIES,
        *t2n.FAMILIES,
        *gptq.FAMILIES,
        *awq.FAMILIES,
        *ct.FAMILIES,
        *onnx.FAMILIES,
        *bitnet.FAMILIES,
        *bnb.FAMILIES,
        *mlx.FAMILIES,
        *hqq.FAMILIES,
        *quanto.FAMILIES,
        *tflite.FAMILIES,
    )
}
"""Schemes with knobs, built on demand."""

ALIASES: Mapping[str, str] = {
    "f32": "float/f32",
    "fp32": "float/f32",
    "float32": "float/f32",
    "f16": "float/f16",
    "fp16": "float/f16",
    "float16": "float/f16",
    "bf16": "float/bf16",
    "bfloat16": "float/bf16",
    "int8": "int/affine[bits=8,sym,channel]",
    "int4": "int/affine[bits=4,sym,group=32]",
    "q4_0": "ggml/q4_0",
    "q4_1": "ggml/q4_1",
    "q5_0": "ggml/q5_0",
    "q5_1": "ggml/q5_1",
    "q8_0": "ggml/q8_0",
    "q2_k": "ggml/q2_k",
    "q3_k": "ggml/q3_k",
    "q4_k": "ggml/q4_k",
    "q5_k": "ggml/q5_k",
    "q6_k": "ggml/q6_k",
    "iq4_nl": "ggml/iq4_nl",
    "iq4_xs": "ggml/iq4_xs",
}
"""Short names and the full names that they stand for."""


@cache
def scheme(name: str) -> Scheme:
    """The scheme called `name`: a full name, one with knobs, or a short alias.

    Raises `UnknownSchemeError` with the nearest names, `UsageError` for a knob that is not there,
    `UnsupportedError` for a codebook whose package is not installed.
    """
    base, knobs = read_name(name)
    if not knobs and base in ALIASES:
        return scheme(ALIASES[base])
    if base in FAMILIES:
        return FAMILIES[base].scheme(knobs)
    if base in SCHEMES or base in CODEBOOKS:
        if knobs:
            raise UsageError(f"scheme {base} has no knobs, found [{knobs}]")
        return SCHEMES[base] if base in SCHEMES else codebook_scheme(base)
    known = [*SCHEMES, *FAMILIES, *CODEBOOKS, *ALIASES]
    raise UnknownSchemeError(name, tuple(get_close_matches(base, known, 3, 0.5)))


def schemes() -> tuple[Scheme, ...]:
    """Every scheme that needs nothing else: those without knobs, and each family's default.

    Formats with codebooks (`ggml/iq1_s` and its kin) are not among them; `scheme` knows them.
    """
    return (*SCHEMES.values(), *(family.scheme("") for family in FAMILIES.values()))


def schemes_with_codebooks() -> tuple[Scheme, ...]:
    """Those of `schemes` and the formats whose codebooks the extra `iq` brings.

    Raises `UnsupportedError` where it is not installed.
    """
    return (*schemes(), *map(codebook_scheme, CODEBOOKS))


@cache
def _by_layout() -> Mapping[Layout, Scheme]:
    return {found.layout: found for found in reversed(schemes())}


def scheme_of_layout(layout: Layout, label: str = "") -> Scheme:
    """The scheme that a file's layout belongs to.

    `label`, a name that the file gives for display, is believed only where the scheme of that
    name has this very layout. A layout of no known scheme gets one that decodes and cannot encode.
    """
    if label:
        try:
            named = scheme(label)
        except (UsageError, UnsupportedError):
            named = None
        if named is not None and not named.operators and named.layout == layout:
            return named
    known = _by_layout().get(layout)
    if known is not None:
        return known
    return Scheme(f"unnamed/{layout.digest[:12]}", "A layout of no known name", layout, None)


def scheme_of_stored(layout: StoredLayout, label: str = "") -> Scheme:
    """The scheme that a file's layout with operators belongs to, as `scheme_of_layout` has it."""
    if label:
        try:
            named = scheme(label)
        except (UsageError, UnsupportedError):
            named = None
        if named is not None and stored_layout(named.layout, named.operators) == layout:
            return named
    title = "A layout with operators of no known name"
    name = f"unnamed/{layout.digest[:12]}"
    return Scheme(name, title, layout.inner, None, operators=layout.operators)


class _Table(ModuleType):
    """The type of this package, which is also the function `refquant.schemes`."""

    def __call__(self) -> tuple[Scheme, ...]:
        return schemes()


sys.modules[__name__].__class__ = _Table
