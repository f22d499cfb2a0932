"""HQQ without its solver: `real = (code - zero) * scale`, where `zero` is a real number.

Codes are chosen with the inverse scale, `1 / (max - min) * (2**bits - 1)` in this order, which is
1 where the range is at most 1e-4 and never above 20000; what is stored is its reciprocal. Groups
run along rows, HQQ's `axis=1`. Codes are one stream of bits, low bits first: HQQ packs halves,
quarters or tenths of the whole tensor into one byte or word, which depends on the tensor's size
and is left to readers. The solver, which moves `zero` by iterations in the arithmetic of a
device, is not part of the contract.
"""

from collections.abc import Mapping
from functools import partial
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.numerics import float16_bits
from refquant.schemes.floats import FLOAT16, FLOAT32
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

ONE = np.float32(1)
NARROW = np.float32(1e-4)
LARGEST_INVERSE = np.float32(2e4)

KNOBS = (
    Knob("bits", "width of a code", ("1", "2", "3", "4", "8"), "4"),
    Knob("group", "weights of a group along the axis", range(2, 65537), 64),
    Knob(
        "zero", "the zero point as it comes, or rounded to an integer", ("real", "rounded"), "real"
    ),
    Knob("parameters", "storage of scale and zero, after codes are chosen", ("f32", "f16"), "f32"),
)


def encode(
    x: F32, knobs: Mapping[str, str | int]
) -> Codes:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u8[g, n]
    """Codes between the smallest and the largest weight of each group."""
    low, high = np.minimum.reduce(x, axis=1), np.maximum.reduce(x, axis=1)
    largest = np.float32((1 << int(knobs["bits"])) - 1)
    extent = high - low
    # A number divided by a tensor is the tensor's reciprocal times the number in torch.
    product = (ONE / extent) * largest
    inverse: F32 = np.minimum(np.where(extent <= NARROW, ONE, product), LARGEST_INVERSE)
    zero: F32 = -low * inverse
    if knobs["zero"] == "rounded":
        zero = np.rint(zero)
    codes = np.clip(np.rint(x * inverse[:, None] + zero[:, None]), np.float32(0), largest)
    stored = float16_bits if knobs["parameters"] == "f16" else _float32_bits
    return {
        "s": stored(ONE / inverse)[:, None],
        "z": stored(zero)[:, None],
        "q": codes.astype(np.uint8),
    }


def _float32_bits(x: F32) -> NDArray[np.uint32]:
    return np.ascontiguousarray(x).view(np.uint32)


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, group = int(knobs["bits"]), int(knobs["group"])
    count, element = 8 // gcd(bits, 8), FLOAT16 if knobs["parameters"] == "f16" else FLOAT32
    size = element.bits // 8
    layout = Layout(
        {
            "codes": Plane((count,), count * bits // 8),
            "scales": Plane((group,), size),
            "zeros": Plane((group,), size),
        },
        {
            "q": field("codes", Unsigned(bits), f"{count}:{bits}+0" if count > 1 else "0"),
            "s": field("scales", element, "0", over=group),
            "z": field("zeros", element, "0", over=group),
        },
        ("mul", ("sub", "q", "z"), "s"),
    )
    shown = [f"bits={bits}", f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[2:] if knobs[k.name] != k.default]
    return Scheme(
        f"hqq/affine[{','.join(shown)}]",
        f"HQQ {bits}-bit groups, a scale and a real zero point",
        layout,
        partial(encode, knobs=knobs),
        (group,),
        parameters=dict(knobs),
    )


FAMILIES = (Family("hqq/affine", "HQQ groups, a scale and a real zero point", KNOBS, _build),)
