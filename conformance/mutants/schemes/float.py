"""Wrong plain floats."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Encoder, Scheme
from refquant.layout import Layout, Minifloat, field
from refquant.numerics import bfloat16_bits, float16_bits

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]


def encoded(name: str, encode: Encoder) -> Callable[[], Scheme]:
    """The scheme with another encoder."""
    return lambda: replace(refquant.scheme(name), encode=encode)


def read_as(name: str, element: Minifloat, place: str = "0") -> Callable[[], Scheme]:
    """The scheme with its bytes read as another element."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        fields = {"w": field("values", element, place)}
        return replace(true, layout=Layout(true.planes, fields, "w"))

    return build


def reversed_bytes(name: str) -> Callable[[], Scheme]:
    """The scheme with its bytes read as big-endian."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        element = true.layout.fields["w"].element
        places = [(8, str(b)) for b in range(element.bits - 8, -1, -8)]
        fields = {"w": field("values", element, tuple(places))}
        return replace(true, layout=Layout(true.planes, fields, "w"))

    return build


def truncated_bfloat16(x: F32) -> dict[str, NDArray[np.uint16]]:
    return {"w": (x.view(np.uint32) >> np.uint32(16)).astype(np.uint16)}


def half_up_bfloat16(x: F32) -> dict[str, NDArray[np.uint16]]:
    rounded = x.view(np.uint32).astype(np.uint64) + 0x8000
    return {"w": (rounded >> np.uint64(16)).astype(np.uint16)}


def saturated_float16(x: F32) -> dict[str, NDArray[np.uint16]]:
    return {"w": float16_bits(np.clip(x, np.float32(-65504), np.float32(65504)))}


def through_bfloat16(x: F32) -> dict[str, NDArray[np.uint16]]:
    wide = bfloat16_bits(x).astype(np.uint32) << np.uint32(16)
    return {"w": float16_bits(wide.view(np.float32))}


def flushed(x: F32) -> F32:
    return np.where(np.abs(x) < np.float32(2.0**-14), np.copysign(np.float32(0), x), x)


def flushed_float16(x: F32) -> dict[str, NDArray[np.uint16]]:
    return {"w": float16_bits(flushed(x))}


def positive_zeros(x: F32) -> dict[str, NDArray[np.uint32]]:
    return {"w": (x + np.float32(0)).view(np.uint32)}


def flushed_float32(x: F32) -> dict[str, NDArray[np.uint32]]:
    tiny = np.abs(x) < np.float32(2.0**-126)
    return {"w": np.where(tiny, np.copysign(np.float32(0), x), x).view(np.uint32)}


MUTANTS = (
    Mutant("f32-big-endian", "float/f32", "bytes read as big-endian", reversed_bytes("float/f32")),
    Mutant(
        "f32-positive-zeros",
        "float/f32",
        "-0.0 is stored as 0.0",
        encoded("float/f32", positive_zeros),
    ),
    Mutant(
        "f32-flushed",
        "float/f32",
        "subnormals are flushed to zero",
        encoded("float/f32", flushed_float32),
    ),
    Mutant(
        "f16-as-bf16",
        "float/f16",
        "bytes read as bfloat16",
        read_as("float/f16", Minifloat(1, 8, 7, 127, "ieee")),
    ),
    Mutant(
        "f16-saturated",
        "float/f16",
        "overflow saturates at 65504",
        encoded("float/f16", saturated_float16),
    ),
    Mutant(
        "f16-twice-rounded",
        "float/f16",
        "rounded through bfloat16",
        encoded("float/f16", through_bfloat16),
    ),
    Mutant(
        "f16-flushed",
        "float/f16",
        "subnormals are flushed to zero",
        encoded("float/f16", flushed_float16),
    ),
    Mutant(
        "f16-no-infinity",
        "float/f16",
        "the top exponent is read as finite",
        read_as("float/f16", Minifloat(1, 5, 10, 15, "none")),
    ),
    Mutant(
        "bf16-truncated",
        "float/bf16",
        "truncated instead of rounded",
        encoded("float/bf16", truncated_bfloat16),
    ),
    Mutant(
        "bf16-half-up",
        "float/bf16",
        "ties away from zero, and NaN may become infinite",
        encoded("float/bf16", half_up_bfloat16),
    ),
    Mutant(
        "bf16-as-f16",
        "float/bf16",
        "bytes read as float16",
        read_as("float/bf16", Minifloat(1, 5, 10, 15, "ieee")),
    ),
)
