"""Wrong floats of 4, 6 and 8 bits: another bias, another rounding, another end of the range."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from refquant.driver import Scheme
from refquant.layout import Layout, Minifloat, field
from refquant.schemes.small_floats import packed_layout

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]

NAMES = (
    "float/f8_e4m3fn[overflow=saturate]",
    "float/f8_e5m2[overflow=saturate]",
    "float/f8_e4m3fnuz[overflow=saturate]",
    "float/f8_e5m2fnuz[overflow=saturate]",
    "float/f6_e2m3fn",
    "float/f6_e3m2fn",
    "float/f4_e2m1fn",
)


def element_of(name: str) -> Minifloat:
    element = refquant.scheme(name).layout.fields["w"].element
    if not isinstance(element, Minifloat):
        raise TypeError(name)
    return element


def biased(name: str) -> Callable[[], Scheme]:
    """Read with a bias one larger, as fnuz and fn differ."""
    element = element_of(name)
    other = replace(element, bias=element.bias + 1)
    return lambda: replace(refquant.scheme(name), layout=packed_layout(other))


def before(name: str, change: Callable[[F32, Minifloat], F32]) -> Callable[[], Scheme]:
    """Weights changed before they are rounded."""
    true, element = refquant.scheme(name), element_of(name)
    encode = true.encode
    if encode is None:
        raise TypeError(name)
    return lambda: replace(true, encode=lambda x: encode(change(x, element)))


def truncated(x: F32, element: Minifloat) -> F32:
    keep = np.uint32(0xFFFFFFFF << (23 - element.mantissa) & 0xFFFFFFFF)
    return np.where(np.isfinite(x), (x.view(np.uint32) & keep).view(np.float32), x)


def flushed(x: F32, element: Minifloat) -> F32:
    small = np.abs(x) < np.float32(2.0 ** (1 - element.bias))
    return np.where(small, np.copysign(np.float32(0), x), x)


def swapped(name: str) -> Callable[[], Scheme]:
    """Codes of a byte, or of three, in the other order."""
    true, element = refquant.scheme(name), element_of(name)
    count = true.planes["values"].block[0]
    places = [str(element.bits * k) for k in reversed(range(count))]
    fields = {"w": field("values", element, *places)}
    return lambda: replace(true, layout=Layout(true.planes, fields, "w"))


def mutants() -> Iterator[Mutant]:
    for name in NAMES:
        short = name.partition("/")[2].partition("[")[0].replace("_", "-")
        yield Mutant(f"{short}-bias", name, "decoded with a bias one larger", biased(name))
        yield Mutant(f"{short}-truncated", name, "truncated", before(name, truncated))
        yield Mutant(f"{short}-flushed", name, "subnormals flushed", before(name, flushed))
        if element_of(name).bits < 8:
            yield Mutant(f"{short}-swapped", name, "codes packed high bits first", swapped(name))


E8M0 = "float/f8_e8m0[rounding=nearest]"


def biased_power() -> Scheme:
    """E8M0 read with a bias one larger."""
    other = replace(element_of(E8M0), bias=128)
    return replace(refquant.scheme(E8M0), layout=packed_layout(other))


def encoded_as(knobs: str) -> Scheme:
    """E8M0 with the encoder of other knobs."""
    other = refquant.scheme(f"float/f8_e8m0[{knobs}]")
    return replace(refquant.scheme(E8M0), encode=other.encode)


def to_even(x: F32, element: Minifloat) -> F32:
    """Middles below an odd code's power lose a bit, so that the even code is nearer."""
    bits = x.view(np.uint32)
    odd = (bits >> np.uint32(23)) & np.uint32(1) == 0
    middle = (bits & np.uint32(0x7FFFFF)) == np.uint32(0x400000)
    return (bits - (odd & middle).astype(np.uint32)).view(np.float32)


MUTANTS = (
    *mutants(),
    Mutant("f8-e8m0-bias", E8M0, "decoded with a bias one larger", biased_power),
    Mutant("f8-e8m0-even", E8M0, "middles go to the even code", before(E8M0, to_even)),
    Mutant("f8-e8m0-floor", E8M0, "the power below", lambda: encoded_as("rounding=floor")),
    Mutant("f8-e8m0-zero", E8M0, "zeros have code 0", lambda: encoded_as("outside=magnitude")),
)
