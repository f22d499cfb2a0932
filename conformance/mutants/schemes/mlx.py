"""Wrong MLX groups and blocks: other anchors, other ties, other orders of bits."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Layout, Minifloat, field
from refquant.numerics import minifloat_bits
from refquant.schemes.mlx import block_floats
from refquant.schemes.small_floats import FLOAT4_E2M1, form_of

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

AFFINE = "mlx/affine[bits=4,group=64]"
FIVE = "mlx/affine[bits=5,group=64]"
MXFP4 = "mlx/mxfp4[scale=ceil]"
MXFP8 = "mlx/mxfp8[scale=ceil]"
NVFP4 = "mlx/nvfp4"


def changed(name: str, **parts: object) -> Callable[[], Scheme]:
    """Another formula, or other fields."""

    def build() -> Scheme:
        layout = refquant.scheme(name).layout
        fields = {**layout.fields, **parts.get("fields", {})}
        made = Layout(layout.planes, fields, parts.get("value", layout.value))
        return replace(refquant.scheme(name), layout=made)

    return build


def swapped(name: str, count: int) -> Callable[[], Scheme]:
    """The codes of a pack in the other order."""
    element = refquant.scheme(name).layout.fields["q"].element
    places = [str(element.bits * k) for k in reversed(range(count))]
    return changed(name, fields={"q": field("codes", element, *places)})


def encoded(name: str, encode: Callable[[F32], Codes]) -> Callable[[], Scheme]:
    return lambda: replace(refquant.scheme(name), encode=encode)


def negated(x: F32) -> Codes:
    """The mirror image of the codes of the negative weights: the other edge wins a draw."""
    found = refquant.scheme(AFFINE).encode(-x)
    sign = np.uint32(1 << 31)
    return {"s": found["s"] ^ sign, "b": found["b"] ^ sign, "q": found["q"]}


def plain(x: F32) -> Codes:
    """The usual affine codes: bias at the smallest weight, no anchor."""
    low, high = x.min(axis=1), x.max(axis=1)
    scale = np.maximum((high - low) / np.float32(15), np.float32(1e-7))
    codes = np.clip(np.rint((x - low[:, None]) / scale[:, None]), 0, 15)
    bits = (p.view(np.uint32)[:, None] for p in (scale, low))
    return dict(zip("sbq", (*bits, codes.astype(np.uint8)), strict=True))


def even_fp4(x: F32) -> NDArray[np.uint8]:
    return minifloat_bits(x, form_of(FLOAT4_E2M1))


def even_blocks(x: F32) -> Codes:
    return block_floats.encode_mx(x, "ceil", 6.0, even_fp4)


def zero_scales(name: str) -> Callable[[F32], Codes]:
    """Blocks of zeros with scale 0, as in other stacks."""

    def encode(x: F32) -> Codes:
        found = dict(refquant.scheme(name).encode(x))
        return {**found, "s": found["s"] * (np.abs(x).max(axis=1) > 0)[:, None].astype(np.uint8)}

    return encode


def even_nvfp4(x: F32) -> Codes:
    found = block_floats.encode_nvfp4(x)
    scale = block_floats.E4M3_VALUES[found["s"]]
    return {**found, "q": even_fp4(np.where(scale > 0, x / scale, x * np.float32(0)))}


def floored(x: F32) -> Codes:
    """Scales held to at least 2**-6, as torchao does."""
    found = block_floats.encode_nvfp4(x)
    code = np.maximum(found["s"], 8)
    return {"s": code, "q": block_floats.first_nearest(x / block_floats.E4M3_VALUES[code])}


def scaled(name: str, bias: int) -> Callable[[], Scheme]:
    """Scales read with another bias."""
    element = refquant.scheme(name).layout.fields["s"].element
    if not isinstance(element, Minifloat):
        raise TypeError(name)
    over = refquant.scheme(name).group
    return changed(name, fields={"s": field("scales", replace(element, bias=bias), "0", over=over)})


def by_rounding(name: str) -> Callable[[], Scheme]:
    other = refquant.scheme(name.replace("ceil", "round"))
    return lambda: replace(refquant.scheme(name), encode=other.encode)


MUTANTS = (
    Mutant("mlx-swapped", AFFINE, "first weight in the high half of a byte", swapped(AFFINE, 2)),
    Mutant("mlx-five-swapped", FIVE, "five-bit codes high bits first", swapped(FIVE, 8)),
    Mutant(
        "mlx-subtracted",
        AFFINE,
        "the bias subtracted",
        changed(AFFINE, value=("sub", ("mul", "s", "q"), "b")),
    ),
    Mutant(
        "mlx-zero-point",
        AFFINE,
        "the bias read as a zero point",
        changed(AFFINE, value=("mul", "s", ("add", "q", "b"))),
    ),
    Mutant(
        "mlx-plain", AFFINE, "no anchor: the bias is the smallest weight", encoded(AFFINE, plain)
    ),
    Mutant(
        "mlx-other-edge",
        AFFINE,
        "the other edge where both are equally far",
        encoded(AFFINE, negated),
    ),
    Mutant("mlx-mxfp4-even", MXFP4, "ties to the even code", encoded(MXFP4, even_blocks)),
    Mutant("mlx-mxfp4-round", MXFP4, "the rule of 0.32.0", by_rounding(MXFP4)),
    Mutant(
        "mlx-mxfp4-zero", MXFP4, "blocks of zeros have scale 0", encoded(MXFP4, zero_scales(MXFP4))
    ),
    Mutant(
        "mlx-mxfp4-swapped", MXFP4, "first weight in the high half of a byte", swapped(MXFP4, 2)
    ),
    Mutant("mlx-mxfp8-round", MXFP8, "the rule of 0.32.0", by_rounding(MXFP8)),
    Mutant(
        "mlx-mxfp8-zero", MXFP8, "blocks of zeros have scale 0", encoded(MXFP8, zero_scales(MXFP8))
    ),
    Mutant("mlx-mxfp8-bias", MXFP8, "scales with a bias of 128", scaled(MXFP8, 128)),
    Mutant("mlx-nvfp4-even", NVFP4, "ties to the even code", encoded(NVFP4, even_nvfp4)),
    Mutant("mlx-nvfp4-floor", NVFP4, "scales are at least 2**-6", encoded(NVFP4, floored)),
    Mutant("mlx-nvfp4-bias", NVFP4, "scales with a bias of 8", scaled(NVFP4, 8)),
    Mutant(
        "mlx-nvfp4-swapped", NVFP4, "first weight in the high half of a byte", swapped(NVFP4, 2)
    ),
)
