"""The six MX formats: 32 elements under a power of two, for each rule that chooses the power.

`real = 2**(scale - 127) * element`; scale 255 makes the whole block NaN. The format leaves the
choice of the scale open, and implementations differ by a factor of two on many blocks. With `e`
the exponent of the block's largest magnitude, as binary32 stores it, and `emax` that of the
largest element:

- `floor`: `e - emax`, the rule of the specification; magnitudes beyond the largest element, up to
  the next power of two, are cut off;
- `ceil`: one more unless the largest magnitude is a power of two; nothing is cut off;
- `even`: as floor, after the magnitude is rounded to the mantissa of an element, half upwards;
- `rceil`: the least power not below `largest magnitude / largest element`; nothing is cut off;
- `ggml`: as floor, with the logarithm rounded to binary32 first; `mlx_new`: as rceil, and
  `mlx_old`: the power nearest to that quotient in the logarithm (engine_rules.py).

Elements are rounded to nearest even and saturate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Minifloat, Plane, Signed, field
from refquant.numerics import minifloat_bits, minifloat_values
from refquant.schemes.mx.engine_rules import ENGINE_RULES, engine_scale_codes
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import (
    FLOAT4_E2M1,
    FLOAT6_E2M3,
    FLOAT6_E3M2,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT8_E8M0,
    form_of,
    packed_layout,
)

__all__ = ["BLOCK", "ELEMENTS", "FAMILIES", "scale_codes"]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

BLOCK = 32
LARGEST_CODE = 254
DIVISORS = np.append(minifloat_values(0, 8, 0, 127, "e8m0")[:255], np.float32(np.inf))
"""Powers of two, and what is beyond them for code 255, under which every element is a zero."""


def _integers(x: F32) -> NDArray[np.int8]:  # f32[...] -> i8[...]
    """Integers of 64ths from -127 to 127: the format's -128 is not used."""
    codes: F32 = np.clip(np.rint(x * np.float32(64)), -127, 127)
    return codes.astype(np.int8)


@dataclass(frozen=True, slots=True)
class Elements:
    """An element format: its exponent `emax`, largest number and mantissa, and its rounding."""

    element: Minifloat | Signed
    emax: int
    largest: float
    mantissa: int
    rounded: Callable[[F32], Codes]


def _floats(element: Minifloat, emax: int, largest: float) -> Elements:
    rounded = partial(minifloat_bits, form=form_of(element), overflow="saturate")
    return Elements(element, emax, largest, element.mantissa, rounded)


ELEMENTS: Mapping[str, Elements] = {
    "mxfp8_e4m3": _floats(FLOAT8_E4M3FN, 8, 448.0),
    "mxfp8_e5m2": _floats(FLOAT8_E5M2, 15, 57344.0),
    "mxfp6_e2m3": _floats(FLOAT6_E2M3, 2, 7.5),
    "mxfp6_e3m2": _floats(FLOAT6_E3M2, 4, 28.0),
    "mxfp4": _floats(FLOAT4_E2M1, 2, 6.0),
    "mxint8": Elements(Signed(8), 0, 127 / 64, 6, _integers),
}

KNOBS = (
    Knob(
        "scale",
        "the power of two for a block's largest magnitude, as listed above",
        ("floor", "ceil", "even", "rceil", *ENGINE_RULES),
        "floor",
    ),
    Knob(
        "least",
        "blocks with the least scale: divided by it; or, as torchao does, by 2**-126, and by 1 "
        "after rceil",
        ("exact", "torchao"),
        "exact",
    ),
)


def scale_codes(largest: F32, rule: str, of: Elements) -> NDArray[np.uint8]:  # f32[b] -> u8[b]
    """The scale of each block from its largest magnitude."""
    if rule in ENGINE_RULES:
        return engine_scale_codes(largest, rule, of.emax, of.largest)
    if rule == "rceil":
        quotient = largest / np.float32(of.largest)
        bits = quotient.view(np.int32)
        power = (bits >> 23) + ((bits & 0x7FFFFF) > 0)
        # A subnormal quotient up to 2**-127 has the least scale, a larger one the next.
        code = np.where(quotient <= np.float32(2.0**-127), 0, power)
    else:
        bits = largest.view(np.int32)
        if rule == "even":
            bits = bits + np.int32(1 << (22 - of.mantissa))
        power = bits >> 23
        if rule == "ceil":
            power = power + ((bits & 0x7FFFFF) > 0)
        code = power - of.emax
    return np.clip(code, 0, LARGEST_CODE).astype(np.uint8)


def _divisors(code: NDArray[np.uint8], knobs: Mapping[str, str | int]) -> F32:  # u8[b] -> f32[b]
    divisor: F32 = DIVISORS[code]
    if knobs["least"] == "torchao":
        shown = 1.0 if knobs["scale"] == "rceil" else 2.0**-126
        divisor = np.where(code == 0, np.float32(shown), divisor)
    return divisor


def _build(name: str, knobs: Mapping[str, str | int]) -> Scheme:
    of = ELEMENTS[name]

    def encode(x: F32) -> Mapping[str, Codes]:  # f32[b, 32] -> s u8[b, 1], q code[b, 32]
        largest = np.maximum.reduce(np.abs(x), axis=1)
        code = scale_codes(largest, str(knobs["scale"]), of)
        return {"s": code[:, None], "q": of.rounded(x / _divisors(code, knobs)[:, None])}

    shown = [f"scale={knobs['scale']}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[1:] if knobs[k.name] != k.default]
    return Scheme(
        f"mx/{name}[{','.join(shown)}]",
        TITLES[name],
        _layout(of.element),
        encode,
        (BLOCK,),
        parameters=dict(knobs),
    )


def _layout(element: Minifloat | Signed) -> Layout:
    value: Expression = "q"
    if isinstance(element, Signed):
        codes, place = Plane((1,), 1), field("codes", element, "0")
        value = ("mul", "q", 1 / 64)
    else:
        packed = packed_layout(element)
        codes = packed.planes["values"]
        count = codes.block[0]
        at = f"{count}:{element.bits}+0" if count > 1 else "0"
        place = field("codes", element, at)
    scales = field("scales", FLOAT8_E8M0, "0", over=BLOCK)
    planes = {"codes": codes, "scales": Plane((BLOCK,), 1)}
    return Layout(planes, {"q": place, "s": scales}, ("mul", "s", value))


TITLES = {
    "mxfp8_e4m3": "MXFP8: E4M3 floats, a power of two for 32 weights",
    "mxfp8_e5m2": "MXFP8: E5M2 floats, a power of two for 32 weights",
    "mxfp6_e2m3": "MXFP6: E2M3 floats, a power of two for 32 weights",
    "mxfp6_e3m2": "MXFP6: E3M2 floats, a power of two for 32 weights",
    "mxfp4": "MXFP4: E2M1 floats, a power of two for 32 weights",
    "mxint8": "MXINT8: 64ths from -127 to 127, a power of two for 32 weights",
}

FAMILIES = tuple(
    Family(f"mx/{name}", TITLES[name], KNOBS, partial(_build, name)) for name in ELEMENTS
)
