"""E8M0: powers of two from 2**-127 to 2**127 in a byte, which MX formats have for scales.

Code c stands for 2**(c - 127), 255 for NaN; there is no zero and no sign. `nearest` is what
ml_dtypes and torch do: middles go up, and so does all between 2**-127 and 2**-126. `floor` and
`ceil` are the two roundings of OCP's scales and of NVIDIA's conversions. A weight that the format
lacks (zero, a negative number) is NaN in ml_dtypes; torch takes its magnitude, for zero 2**-127.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.schemes.names import Family, Knob
from refquant.schemes.small_floats import FLOAT8_E8M0, packed_layout

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]

ABOVE_LEAST = np.uint32(0x00400001)
"""The bits of the number after 2**-127."""
NORMAL, INFINITE = np.uint32(0x00800000), np.uint32(0x7F800000)
CARRY = {"floor": np.uint32(0), "nearest": np.uint32(1 << 22), "ceil": np.uint32((1 << 23) - 1)}
"""What carries the bits of a normal number into the exponent of the power that is taken."""

KNOBS = (
    Knob(
        "rounding",
        "the power that is taken: the nearest, the one below or the one above",
        tuple(sorted(CARRY, reverse=True)),
        "nearest",
    ),
    Knob(
        "outside",
        "zero and negative weights: NaN as in ml_dtypes, or their magnitude as in torch",
        ("nan", "magnitude"),
        "nan",
    ),
    Knob("overflow", "beyond 2**127: NaN, or that number", ("nan", "saturate"), "nan"),
)


def power_codes(x: F32, rounding: str, outside: str, overflow: str) -> NDArray[np.uint8]:
    """The codes of weights, `f32[...] -> u8[...]`."""
    bits = x.view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    codes = (magnitude + CARRY[rounding]) >> np.uint32(23)
    least = np.uint32(0) if rounding == "floor" else (magnitude >= ABOVE_LEAST).astype(np.uint32)
    codes = np.where(magnitude < NORMAL, least, codes)
    codes = np.minimum(codes, np.uint32(254 if overflow == "saturate" else 255))
    nan = magnitude > INFINITE
    if outside == "nan":
        nan |= (magnitude == 0) | (bits != magnitude)
    return np.where(nan, np.uint8(255), codes.astype(np.uint8))


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    rounding, outside, overflow = (str(knobs[knob.name]) for knob in KNOBS)
    shown = [f"rounding={rounding}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[1:] if knobs[k.name] != k.default]
    return Scheme(
        f"float/f8_e8m0[{','.join(shown)}]",
        TITLE,
        packed_layout(FLOAT8_E8M0),
        lambda x: {"w": power_codes(x, rounding, outside, overflow)},
        non_finite=True,
        parameters=dict(knobs),
    )


TITLE = "powers of two from 2**-127 to 2**127 and NaN (OCP E8M0)"
FAMILIES = (Family("float/f8_e8m0", TITLE, KNOBS, _build),)
