"""qint4 and qint2: `real = scale * code - shift`, where the shift is a real number.

The scale is the range of a group over its steps and the shift the least weight, negated, so that
0.0 need not be a value. With `shift=integer` it is a zero point, added after rounding. Codes are
one stream of bits along rows, or stored as quanto does: the groups below each other as a matrix,
whose halves (quarters of 2-bit codes) share bytes, the first in the low bits.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Minifloat, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.interleaved import Interleaved
from refquant.schemes.names import Family, Knob
from refquant.schemes.quanto.knobs import DTYPE

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Knobs = Mapping[str, str | int]

KNOBS = (
    Knob("group", "weights of a group along the axis", range(2, 65537), 128),
    Knob("shift", "the shift as it comes, or a zero point", ("real", "integer"), "real"),
    Knob(
        "packing",
        "a stream of bits along rows, or parts of the tensor in a byte as the package has them",
        ("stream", "package"),
        "stream",
    ),
    DTYPE,
)


def encode(
    bits: int, knobs: Knobs, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u8[g, n]
    """Codes between the least and the largest weight of each group; NaN, of 0 / 0, has code 0."""
    number = DTYPES[str(knobs["dtype"])]
    rounded, most = number.rounded, np.float32((1 << bits) - 1)
    x = rounded(x)
    low, high = least(x), np.maximum.reduce(x, axis=1)  # exact: the sign of its zero is dropped
    # Of zeros with both signs the difference may be -0.0, and the scale is not.
    scale, shift = rounded(rounded(np.abs(high - low)) / most), -low
    if knobs["shift"] == "real":
        codes = limited(rounded(rounded(x + shift[:, None]) / scale[:, None]), most)
        stored = number.bits(shift)
    else:
        stored = limited(rounded(shift / scale), most).astype(np.uint8)
        quotient = np.rint(rounded(x / scale[:, None]))
        codes = limited(rounded(quotient + stored[:, None].astype(np.float32)), most)
    return {"s": number.bits(scale)[:, None], "z": stored[:, None], "q": codes.astype(np.uint8)}


def least(x: F32) -> F32:  # f32[g, n] -> f32[g]
    """The least weight of each group; of zeros with both signs, the positive one."""
    low: F32 = np.minimum.reduce(x, axis=1)  # exact: the sign of zeros is decided below
    zero = np.flatnonzero(low == 0)
    positive = (x[zero].view(np.uint32) == 0).any(axis=1)
    low[zero] = np.where(positive, np.float32(0), np.float32(-0.0))
    return low


def limited(x: F32, most: np.float32) -> F32:  # f32[...] -> f32[...]
    """The nearest integers from 0 to `most`, ties to even; NaN is 0."""
    return np.clip(np.rint(np.where(np.isnan(x), np.float32(0), x)), np.float32(0), most)


def _layout(
    bits: int, scale: Minifloat, shift: Minifloat | Unsigned, group: int, packing: str
) -> Layout:
    """A stream along rows; or rows of a part, columns and parts, as `Interleaved` has them."""
    count = 8 // bits
    block: tuple[int, ...] = (group,) if packing == "stream" else (1, 0, 1)
    order = None if packing == "stream" else (2, 0, 1)
    value: Expression = ("sub", ("mul", "s", "q"), "z")
    if isinstance(shift, Unsigned):
        value = ("mul", "s", ("sub", "q", "z"))
    return Layout(
        {
            "codes": Plane((count,), 1),
            "scales": Plane(block, scale.bits // 8, order),
            "shifts": Plane(block, shift.bits // 8, order),
        },
        {
            "q": field("codes", Unsigned(bits), f"{count}:{bits}+0"),
            "s": field("scales", scale, "0", over=block),
            "z": field("shifts", shift, "0", over=block),
        },
        value,
    )


def _scheme(bits: int, knobs: Knobs) -> Scheme:
    group, packing = int(knobs["group"]), str(knobs["packing"])
    scale = DTYPES[str(knobs["dtype"])].element
    shift = scale if knobs["shift"] == "real" else Unsigned(8)
    shown = [f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[1:] if knobs[k.name] != k.default]
    found = Scheme(
        f"quanto/qint{bits}[{','.join(shown)}]",
        f"quanto {bits}-bit groups, a scale and a real shift",
        _layout(bits, scale, shift, group, packing),
        partial(encode, bits, knobs),
        (group,),
        parameters=dict(knobs),
    )
    if packing == "stream":
        return found
    return replace(found, operators=(Interleaved(group, 1, 8 // bits),))


FAMILIES = tuple(
    Family(
        f"quanto/qint{bits}",
        f"quanto {bits}-bit groups, a scale and a shift",
        KNOBS,
        partial(_scheme, bits),
    )
    for bits in (4, 2)
)
