"""Wrong TFLite tensors: other signs, orders of bits, roundings and zero points."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

import refquant
from conformance.mutants.schemes import Mutant
from conformance.mutants.wrong_layouts import with_codes, with_value
from refquant.driver import Scheme
from refquant.layout import Element, Expression, Signed, Unsigned

__all__ = ["MUTANTS"]

F32 = NDArray[np.float32]
NAMES = {
    "int8": "tflite/int8[asym,tensor]",
    "uint8": "tflite/uint8[tensor]",
    "int16": "tflite/int16",
    "int4": "tflite/int4[channel]",
    "uint4": "tflite/uint4[tensor]",
    "int2": "tflite/int2[channel]",
}


def rounded(name: str, rule: str) -> Scheme:
    """Symmetric codes by another rounding, or by the reciprocal; asymmetric ones likewise."""
    true = refquant.scheme(name)
    element = true.layout.fields["q"].element
    least = -(1 << (element.bits - 1)) if isinstance(element, Signed) else 0
    most = least + (1 << element.bits) - 1

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(true.encode(x)) if true.encode else {}
        scale = found["s"].view(np.float32)
        zero = found["z"] if "z" in found else np.zeros(1, np.int32)
        if rule == "even":
            codes = np.rint(x / scale) + zero
        elif rule == "before":
            codes = np.rint(x / scale + zero.astype(np.float32))
        else:
            codes = np.trunc(x / scale) + zero
        held = np.clip(np.nan_to_num(codes), least, most)
        return found | {"q": held.astype(np.int32)}

    return replace(true, encode=encode)


def halved(name: str) -> Scheme:
    """A scale over half the steps: 127.5, 7.5, 1.5."""
    true = refquant.scheme(name)
    bits = true.layout.fields["q"].element.bits
    most = np.float32((1 << (bits - 1)) - 1)

    def encode(x: F32) -> dict[str, NDArray[np.integer]]:
        found = dict(true.encode(x)) if true.encode else {}
        scale = found["s"].view(np.float32) * most / (most + np.float32(0.5))
        return found | {"s": scale.astype(np.float32).view(np.uint32)}

    return replace(true, encode=encode)


def mutants() -> Iterator[Mutant]:
    """Four of each type."""
    for kind, name in NAMES.items():
        layout = refquant.scheme(name).layout
        element = layout.fields["q"].element
        bits, count = element.bits, max(8 // element.bits, 1)
        place = f"{count}:{bits}+0" if count > 1 else "0"
        other: Element = Unsigned(bits) if isinstance(element, Signed) else Signed(bits)
        read = with_codes(name, other, place)
        yield Mutant(f"tflite-{kind}-sign", name, "signed for unsigned, or the reverse", read)
        for rule, words in (("even", "ties to even"), ("truncated", "truncated")):
            yield Mutant(f"tflite-{kind}-{rule}", name, words, partial(rounded, name, rule))
        if "z" in layout.fields:
            off: Expression = ("mul", "s", ("sub", "q", ("add", "z", 1.0)))
            change = "the zero point one too small"
            yield Mutant(f"tflite-{kind}-off-by-one", name, change, with_value(name, off))
            before = partial(rounded, name, "before")
            change = "the zero point added before rounding"
            yield Mutant(f"tflite-{kind}-before", name, change, before)
        else:
            change = "the scale over half the steps"
            yield Mutant(f"tflite-{kind}-half", name, change, partial(halved, name))
        if count > 1:
            places = [str(bits * k) for k in reversed(range(count))]
            high = with_codes(name, element, *places)
            yield Mutant(f"tflite-{kind}-high-first", name, "first code in the high bits", high)


MUTANTS = tuple(mutants())
