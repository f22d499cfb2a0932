"""8-bit codes per tensor as torch's observers and `quantize_per_tensor` choose them.

`quint8` is torch's affine unsigned type with the range and zero point of MinMaxObserver; `qint8`
its symmetric signed one. Weights are multiplied by the reciprocal of a scale that is at least
2**-23. torch 2.13 adds the zero point before rounding, in one fused step; its fake quantization
adds it after; tract, which runs what torch-to-nnef exports, divides and adds it before. What is
added after is a point of `int/affine`; unsigned codes are stored 128 higher.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.affine import WHOLE_TENSOR, Rule, affine_point
from refquant.schemes.floats import FLOAT32
from refquant.schemes.names import Family, Knob

__all__ = ["FAMILIES", "SCHEMES"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SIGNED = affine_point(
    "t2n/qint8",
    "torch 8-bit signed codes per tensor, symmetric over 127.5",
    granularity="tensor",
    divisor="half",
    range="full",
    by="reciprocal",
    floor="eps",
)

AFTER = Rule(
    affine_point(
        "t2n/quint8",
        "the same codes, 128 lower",
        granularity="tensor",
        symmetry="asym",
        by="reciprocal",
        floor="eps",
    ).parameters
)

ZERO = Knob(
    "zero",
    "the zero point is added before rounding, fused or (tract) to a quotient, or after it",
    ("fused", "after", "tract"),
    "fused",
)


def encode(
    zero: str, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[1, n] -> s f32[1, 1], z u8[1, 1], q u8[1, n]
    """The codes of two's complement integers, 128 higher."""
    codes = AFTER.encode(x)
    shifted = {name: codes[name].view(np.uint8) ^ np.uint8(128) for name in ("z", "q")}
    if zero == "fused":
        inverse = np.float32(1) / codes["s"].view(np.float32)
        shifted["q"] = _nearest(x, inverse, shifted["z"])
    if zero == "tract":
        exact = x / codes["s"].view(np.float32) + shifted["z"].astype(np.float32)
        shifted["q"] = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return {"s": codes["s"], **shifted}


def _nearest(x: F32, inverse: F32, zero: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`x * inverse + zero` rounded once to binary32, then to an integer in 0..255."""
    # The product is exact in binary64. The sum is rounded to odd there, after which a second
    # rounding gives what a single one would.
    product, addend = x.astype(np.float64) * inverse, zero.astype(np.float64)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = total.view(np.int64) % 2 == 0
    away = np.nextafter(total, np.copysign(np.inf, error))
    fused = np.where((error != 0) & even, away, total).astype(np.float32)
    return np.clip(np.rint(fused), 0, 255).astype(np.uint8)


def _scheme(knobs: Mapping[str, str | int]) -> Scheme:
    zero = str(knobs["zero"])
    return Scheme(
        f"t2n/quint8[zero={zero}]",
        "torch 8-bit unsigned codes per tensor, with a zero point",
        Layout(
            {
                "codes": Plane((1,), 1),
                "scales": Plane(WHOLE_TENSOR, 4),
                "zero_points": Plane(WHOLE_TENSOR, 1),
            },
            {
                "q": field("codes", Unsigned(8), "0"),
                "s": field("scales", FLOAT32, "0", over=WHOLE_TENSOR),
                "z": field("zero_points", Unsigned(8), "0", over=WHOLE_TENSOR),
            },
            ("mul", "s", ("sub", "q", "z")),
        ),
        partial(encode, zero),
        WHOLE_TENSOR,
        ragged=True,
        parameters=dict(knobs),
    )


SCHEMES = (SIGNED,)
FAMILIES = (
    Family("t2n/quint8", "torch 8-bit unsigned codes per tensor, affine", (ZERO,), _scheme),
)
