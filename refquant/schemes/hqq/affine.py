"""HQQ: `real = (code - zero) * scale`, where `zero` is a real number.

Codes are chosen with the inverse scale, `1 / (max - min) * (2**bits - 1)` in this order, which is
1 where the range is at most 1e-4 and never above 20000; what is stored is its reciprocal. With
`solver=proximal` the zero point is then moved (solver.py). By default groups run along rows and
codes are one stream of bits, low bits first. The package itself cuts groups from the flattened
tensor (`axis=1`), or combs it (`axis=0`), and puts halves, quarters, eighths or tenths of all
groups into one byte or word: `packing=package`, an operator of level 2.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Layout, Minifloat, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.hqq.solver import Solver
from refquant.schemes.interleaved import Interleaved
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]

VALUE: Expression = ("mul", ("sub", "q", "z"), "s")
ONE = np.float32(1)
NARROW = np.float32(1e-4)
LARGEST_INVERSE = np.float32(2e4)

NORMS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1")
PARTS: Mapping[int, tuple[str, ...]] = {
    1: ("7", "6", "5", "4", "3", "2", "1", "0"),
    2: ("6", "4", "2", "0"),
    3: tuple(str(27 - 3 * k) for k in range(10)),
    4: ("4", "0"),
    8: ("0",),
}
"""Where the package puts the code of each part of the tensor; 3 bits are in words of 32."""

KNOBS = (
    Knob("bits", "width of a code", ("1", "2", "3", "4", "8"), "4"),
    Knob("group", "weights of a group along the axis", range(2, 65537), 64),
    Knob(
        "zero", "the zero point as it comes, or rounded to an integer", ("real", "rounded"), "real"
    ),
    Knob("parameters", "storage of scale and zero, after codes are chosen", ("f32", "f16"), "f32"),
    Knob("solver", "the zero point as it is, or moved by rounds", ("none", "proximal"), "none"),
    Knob("iters", "rounds of the solver at most", range(1, 1001), 20),
    Knob("beta", "strength of the solver", range(1, 10001), 10),
    Knob("lp", "norm that the solver makes small", NORMS, "0.7"),
    Knob(
        "packing",
        "a stream of bits along rows, or parts of the tensor in a byte as the package has them",
        ("stream", "package"),
        "stream",
    ),
    Knob("axis", "groups are runs of the flattened tensor, or combs through it", ("1", "0"), "1"),
)


def encode(
    x: F32, knobs: Mapping[str, str | int]
) -> Codes:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u8[g, n]
    """Codes between the smallest and the largest weight of each group."""
    low, high = extremes(x)
    largest = np.float32((1 << int(knobs["bits"])) - 1)
    extent = high - low
    # A number divided by a tensor is the tensor's reciprocal times the number in torch.
    product = (ONE / extent) * largest
    inverse: F32 = np.minimum(np.where(extent <= NARROW, ONE, product), LARGEST_INVERSE)
    zero: F32 = -low * inverse
    if knobs["zero"] == "rounded":
        zero = np.rint(zero)
    solver = _solver(largest, knobs)
    if knobs["solver"] == "proximal":
        zero = solver.zero_points(x, inverse, zero)
    codes = solver.codes(x, inverse, zero)
    stored = DTYPES[str(knobs["parameters"])].bits
    return {
        "s": stored(ONE / inverse)[:, None],
        "z": stored(zero)[:, None],
        "q": codes.astype(np.uint8),
    }


def _solver(largest: np.float32, knobs: Mapping[str, str | int]) -> Solver:
    """The package's own: it never makes `beta` larger, and any first error is below infinity."""
    norm = float(knobs["lp"])
    return Solver(largest, int(knobs["iters"]), float(knobs["beta"]), norm, 1.0, float("inf"))


def _stream(bits: int, group: int, element: Minifloat) -> Layout:
    count, size = 8 // gcd(bits, 8), element.bits // 8
    return Layout(
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
        VALUE,
    )


def _package(bits: int, axis: int, element: Minifloat) -> Layout:
    """Rows of a part, columns and parts, as `Interleaved` arranges them."""
    places, size = PARTS[bits], element.bits // 8
    shared = Plane((1, 0, 1), size, (2, 0, 1)) if axis == 1 else Plane((0, 1, 0), size)
    return Layout(
        {
            "codes": Plane((len(places),), 4 if bits == 3 else 1),
            "scales": shared,
            "zeros": shared,
        },
        {
            "q": field("codes", Unsigned(bits), *places),
            "s": field("scales", element, "0", over=shared.block),
            "z": field("zeros", element, "0", over=shared.block),
        },
        VALUE,
    )


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, group, axis = int(knobs["bits"]), int(knobs["group"]), int(knobs["axis"])
    if axis == 0:
        knobs = {**knobs, "packing": "package"}
    element = DTYPES[str(knobs["parameters"])].element
    shown = [f"bits={bits}", f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[2:] if knobs[k.name] != k.default]
    found = Scheme(
        f"hqq/affine[{','.join(shown)}]",
        f"HQQ {bits}-bit groups, a scale and a real zero point",
        _stream(bits, group, element),
        partial(encode, knobs=knobs),
        (group,),
        parameters=dict(knobs),
        whole=knobs["solver"] == "proximal",
    )
    if knobs["packing"] == "stream":
        return found
    parts = Interleaved(group, axis, len(PARTS[bits]))
    return replace(found, layout=_package(bits, axis, element), operators=(parts,))


FAMILIES = (Family("hqq/affine", "HQQ groups, a scale and a real zero point", KNOBS, _build),)
