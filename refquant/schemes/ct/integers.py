"""`pack-quantized` and `int-quantized`: integer codes in words, or one in a byte.

A symmetric scale is the largest magnitude over half the steps (7.5, 127.5); an asymmetric range
includes 0.0. A scale of zero, and no other, becomes the epsilon of its dtype. Zero points are
added before rounding. All of it is computed in the dtype of the weights, which is also that of
the scales. Packed codes and zero points are stored without sign, 2**(bits - 1) higher.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Expression, Field, Layout, Plane, Signed, Unsigned, field
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.dtypes import DTYPES
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes_and_zero, magnitude_of

__all__ = ["DTYPE", "EPSILON", "FAMILIES", "GROUP", "in_dtype", "scale_bits", "share_of"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]
Values = Mapping[str, str | int]

EPSILON = {"f32": np.float32(2.0**-23), "bf16": np.float32(2.0**-7)}

SYMMETRY = Knob(
    "symmetry", "0.0 is the middle code, or a zero point", ("sym", "asym"), "sym", bare=True
)
GROUP = Knob("group", "weights of a group along the axis", range(2, 65537), 128)
DTYPE = Knob("dtype", "of weights, scales and the arithmetic on them", ("f32", "bf16"), "f32")
PACKING = Knob(
    "packing",
    "codes in words without gaps, or 32 // bits in each word (releases before mid-2026)",
    ("dense", "padded"),
    "dense",
)


def in_dtype(dtype: str, x: F32) -> F32:  # f32[...] -> f32[...]
    """The nearest numbers of a dtype, which every operation on it is rounded to."""
    return DTYPES[dtype].rounded(x)


def scale_bits(dtype: str, scale: F32) -> NDArray[np.integer]:  # f32[...] -> code[...]
    """A scale as it is stored."""
    return DTYPES[dtype].bits(scale)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the codes of a member are chosen; `offset` is what their storage adds."""

    bits: int
    knobs: Values
    offset: int

    def encode(self, x: F32) -> Codes:  # f32[g, n] -> s code[g, 1], z code[g, 1]?, q code[g, n]
        """Scale and zero point by the extremes of each group, 0.0 among them."""
        dtype = str(self.knobs["dtype"])
        rounded = partial(in_dtype, dtype)
        x = rounded(x)
        least, most = np.float32(-(1 << (self.bits - 1))), np.float32((1 << (self.bits - 1)) - 1)
        low, high = extremes_and_zero(x)
        found: dict[str, NDArray[np.integer]] = {}
        if self.knobs["symmetry"] == "sym":
            scale = rounded(magnitude_of(low, high) / ((most - least) / np.float32(2)))
            zero = np.zeros_like(scale)
        else:
            scale = rounded(rounded(high - low) / (most - least))
            exact = rounded(least - rounded(low / scale))
            zero = np.rint(np.clip(np.nan_to_num(exact, nan=0, posinf=float(most)), least, most))
            found["z"] = self._stored(zero)[:, None]
        scale = np.where(scale == 0, EPSILON[dtype], scale)
        quotient = rounded(rounded(x / scale[:, None]) + zero[:, None])
        codes = np.rint(np.clip(quotient, least, most))
        return {"s": scale_bits(dtype, scale)[:, None], "q": self._stored(codes)} | found

    def _stored(self, codes: F32) -> NDArray[np.integer]:
        """Codes as bytes: two's complement, or without sign."""
        known = np.where(np.isnan(codes), np.float32(0), codes).astype(np.int16)
        if not self.offset:
            return known.astype(np.int8)
        return (known + np.int16(self.offset)).astype(np.uint8)


def share_of(knobs: Values) -> tuple[tuple[int, ...], str]:
    """The weights that share a scale, and how a name spells them."""
    granularity = str(knobs["granularity"])
    if granularity == "group":
        return (int(knobs["group"]),), f"group={knobs['group']}"
    return (WHOLE_TENSOR if granularity == "tensor" else (0,)), granularity


def _words(bits: int, packing: str, over: tuple[int, ...], *, down: bool) -> tuple[Plane, Field]:
    """A plane of whole words: along the last axis, or `down` the first for zero points."""
    count = 32 // bits if packing == "padded" else 32 // gcd(bits, 32)
    size = 4 if packing == "padded" else 4 * (bits // gcd(bits, 32))
    element, place = Unsigned(bits), f"{count}:{bits}+0"
    if down:
        return Plane((count, *over), size), field("zero_points", element, place, over=(1, *over))
    return Plane((count,), size), field("packed", element, place)


def _packed(bits: int, knobs: Values) -> Scheme:
    share, word = share_of(knobs)
    dtype, packing = str(knobs["dtype"]), str(knobs["packing"])
    element = DTYPES[dtype].element
    planes, fields = {}, {}
    planes["packed"], fields["q"] = _words(bits, packing, (1,), down=False)
    planes["scales"] = Plane(share, element.bits // 8)
    fields["s"] = field("scales", element, "0", over=share)
    centre: Expression = float(1 << (bits - 1))
    if knobs["symmetry"] == "asym":
        planes["zero_points"], fields["z"] = _words(bits, packing, share, down=True)
        centre = "z"
    shown = [str(knobs["symmetry"]), word]
    shown += [f"{k.name}={knobs[k.name]}" for k in (DTYPE, PACKING) if knobs[k.name] != k.default]
    return Scheme(
        f"ct/pack{bits}[{','.join(shown)}]",
        f"compressed-tensors {bits}-bit codes in words, {knobs['symmetry']}metric",
        Layout(planes, fields, ("mul", "s", ("sub", "q", centre))),
        Rule(bits, knobs, 1 << (bits - 1)).encode,
        share,
        parameters=dict(knobs),
    )


def _plain(knobs: Values) -> Scheme:
    share, word = share_of(knobs)
    dtype = str(knobs["dtype"])
    element = DTYPES[dtype].element
    planes = {"codes": Plane((1,), 1), "scales": Plane(share, element.bits // 8)}
    fields = {
        "q": field("codes", Signed(8), "0"),
        "s": field("scales", element, "0", over=share),
    }
    centred: Expression = "q"
    if knobs["symmetry"] == "asym":
        planes["zero_points"] = Plane(share, 1)
        fields["z"] = field("zero_points", Signed(8), "0", over=share)
        centred = ("sub", "q", "z")
    shown = [str(knobs["symmetry"]), word] + ([f"dtype={dtype}"] if dtype != "f32" else [])
    return Scheme(
        f"ct/int8[{','.join(shown)}]",
        f"compressed-tensors 8-bit codes in bytes, {knobs['symmetry']}metric",
        Layout(planes, fields, ("mul", "s", centred)),
        Rule(8, knobs, 0).encode,
        share,
        parameters=dict(knobs),
    )


PACKED_SHARE = Knob(
    "granularity", "weights that share one scale", ("group", "channel"), "group", bare=True
)
PLAIN_SHARE = Knob(
    "granularity",
    "weights that share one scale",
    ("channel", "tensor", "group"),
    "channel",
    bare=True,
)

FAMILIES = (
    *(
        Family(
            f"ct/pack{bits}",
            f"compressed-tensors {bits}-bit codes in words (pack-quantized)",
            (SYMMETRY, PACKED_SHARE, GROUP, DTYPE, PACKING),
            partial(_packed, bits),
        )
        for bits in range(2, 9)
    ),
    Family(
        "ct/int8",
        "compressed-tensors 8-bit codes in bytes (int-quantized)",
        (SYMMETRY, PLAIN_SHARE, GROUP, DTYPE),
        _plain,
    ),
)
