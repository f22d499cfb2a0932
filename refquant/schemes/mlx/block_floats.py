"""MLX's modes mxfp4, mxfp8 and nvfp4: its own scales, its own ties, its own special codes.

Scales of `mxfp4` and `mxfp8` are powers of two not below (`scale=ceil`, since 0.32.2) or nearest
to (`scale=round`, until 0.32.0, in the logarithm as binary32 holds it) the largest magnitude over
the largest element.
Their codes wrap around below 2**-127, as a cast to 8 bits does; a block of zeros has scale 2**0.
Scales of `nvfp4` are E4M3 numbers, saturating. FP4 elements are the first of the nearest in code
order, so that ties go towards zero and what rounds to zero is code 0.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Minifloat, Plane, field
from refquant.numerics import minifloat_bits, minifloat_values
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import FLOAT4_E2M1, FLOAT8_E4M3FN, FLOAT8_E8M0, form_of

__all__ = ["FAMILIES", "SCHEMES"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Codes = Mapping[str, NDArray[np.integer]]

FP4_VALUES = minifloat_values(*form_of(FLOAT4_E2M1))
E4M3_VALUES = minifloat_values(*form_of(FLOAT8_E4M3FN))
ONE = np.float32(1)

ABOUT_ROOT_OF_2 = np.array(
    [
        (0x3504F3, 0x3504F2),
        (0x3504F3, 0x3504F2),
        (0x3504F4, 0x3504F2),
        (0x3504F5, 0x3504F1),
        (0x3504F7, 0x3504EF),
        (0x3504FB, 0x3504EB),
        (0x350502, 0x3504E3),
        (0x350512, 0x3504D3),
        (0x350531, 0x3504B4),
    ],
    np.int32,
)
"""Mantissas up to which a logarithm is rounded down, for an even and for an odd whole part.

Logarithms within half a unit of binary32 of `whole + 1/2` become that number, a tie, which goes to
the even integer: above the root for an even whole part, below it for an odd one. The unit is that
of the tie's size, one row for each power of two from 1/2 on.
"""


def first_nearest(x: F32) -> U8:  # f32[b, n] -> u8[b, n]
    """FP4 codes by trial in code order; NaN takes the first."""
    codes = np.zeros(x.shape, np.uint8)
    least = np.abs(x - FP4_VALUES[0])
    for code in range(1, 16):
        distance = np.abs(x - FP4_VALUES[code])
        nearer = distance < least
        codes[nearer] = code
        least = np.where(nearer, distance, least)
    return codes


def saturated_e4m3(x: F32) -> U8:  # f32[...] -> u8[...]
    """The nearest E4M3 codes up to 448."""
    return minifloat_bits(x, form_of(FLOAT8_E4M3FN), "saturate")


def powers(quotient: F32, rule: str) -> NDArray[np.int32]:  # f32[b] -> i32[b]
    """The exponent of each scale, for positive quotients."""
    fraction, exponent = np.frexp(quotient)
    whole = exponent.astype(np.int32) - 1
    if rule == "ceil":
        return whole + (fraction > np.float32(0.5))
    mantissa = fraction.view(np.int32) & 0x7FFFFF
    _, size = np.frexp(np.abs(whole + 0.5))
    last: NDArray[np.int32] = ABOUT_ROOT_OF_2[size, whole & 1]
    return whole + (mantissa > last)


def encode_mx(x: F32, rule: str, largest: float, elements: Callable[[F32], U8]) -> Codes:
    """Blocks of 32 under powers of two."""
    quotient = np.maximum.reduce(np.abs(x), axis=1) / np.float32(largest)
    exponent = np.where(quotient > 0, powers(np.where(quotient > 0, quotient, ONE), rule), 0)
    scaled: F32 = x / np.ldexp(ONE, exponent).astype(np.float32)[:, None]
    return {"s": ((exponent + 127) & 255).astype(np.uint8)[:, None], "q": elements(scaled)}


def encode_nvfp4(x: F32) -> Codes:  # f32[b, 16] -> s u8[b, 1], q u8[b, 16]
    """Blocks of 16 under E4M3 numbers; there is no scale of the tensor."""
    code = saturated_e4m3(np.maximum.reduce(np.abs(x), axis=1) / np.float32(6))
    return {"s": code[:, None], "q": first_nearest(x / E4M3_VALUES[code][:, None])}


def _layout(element: Minifloat, scale: Minifloat, block: int) -> Layout:
    count = 8 // element.bits
    place = f"{count}:{element.bits}" if count > 1 else "0"
    return Layout(
        {"codes": Plane((count,), 1), "scales": Plane((block,), 1)},
        {"q": field("codes", element, place), "s": field("scales", scale, "0", over=block)},
        ("mul", "s", "q"),
    )


SCALE = Knob(
    "scale",
    "the power of two not below the quotient (since 0.32.2), or nearest to it (until 0.32.0)",
    ("ceil", "round"),
    "ceil",
)
TITLES = {
    "mxfp4": "MXFP4 as MLX encodes it",
    "mxfp8": "MXFP8 as MLX encodes it",
    "nvfp4": "NVFP4 as MLX encodes it, without a scale of the tensor",
}


def _build_mx(name: str, knobs: Mapping[str, str | int]) -> Scheme:
    rule = str(knobs["scale"])
    element = FLOAT4_E2M1 if name == "mxfp4" else FLOAT8_E4M3FN
    elements = first_nearest if name == "mxfp4" else saturated_e4m3
    encode = partial(
        encode_mx, rule=rule, largest=6.0 if name == "mxfp4" else 448.0, elements=elements
    )
    layout = _layout(element, FLOAT8_E8M0, 32)
    return Scheme(
        f"mlx/{name}[scale={rule}]", TITLES[name], layout, encode, (32,), parameters=dict(knobs)
    )


FAMILIES = tuple(
    Family(f"mlx/{name}", TITLES[name], (SCALE,), partial(_build_mx, name))
    for name in ("mxfp4", "mxfp8")
)

SCHEMES = (
    Scheme(
        "mlx/nvfp4", TITLES["nvfp4"], _layout(FLOAT4_E2M1, FLOAT8_E4M3FN, 16), encode_nvfp4, (16,)
    ),
)
