"""`int/affine`: integer codes with a scale for each tensor, channel or group, every knob explicit.

`real = scale * (code - zero_point)`; symmetric schemes have no zero point. What frameworks call
"int8 symmetric" or "int4 group 32" differs in these knobs and in nothing else, so their contracts
are points of this family. Codes are two's complement, packed low bits first; a row of codes, and
a row of zero points, begins on a byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import (
    Expression,
    Field,
    Layout,
    Plane,
    Signed,
    Unsigned,
    field,
    slice_at,
)
from refquant.numerics import (
    bfloat16_bits,
    float16_bits,
    float32_from_bfloat16,
    float32_from_float16,
    round_half_away,
)
from refquant.schemes.dtypes import without_signs_of_nan
from refquant.schemes.floats import BFLOAT16, FLOAT16, FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes, extremes_and_zero

__all__ = ["AFFINE", "KNOBS", "Rule", "affine_point"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]
WHOLE_TENSOR = (0,) * 8

ZERO = np.float32(0)
"""Added to a maximum of zeros, whose sign is a processor's choice: -0.0 + 0.0 is 0.0."""

LARGEST_SCALE: Mapping[str, np.float32] = {
    "f32": np.finfo(np.float32).max,
    "f16": np.float32(65504),
    "bf16": np.float32(float.fromhex("0x1.fep127")),
    "bf16_f16": np.float32(65280),
}
"""Largest finite scale of each storage; 65280 is the largest of 8 significant bits below 65520."""

SCALE_ELEMENTS = {"f32": FLOAT32, "f16": FLOAT16, "bf16": BFLOAT16, "bf16_f16": FLOAT16}

KNOBS = (
    Knob("bits", "width of a code", range(2, 9), 8),
    Knob("symmetry", "0.0 is code 0, or a stored zero point", ("sym", "asym"), "sym", bare=True),
    Knob(
        "granularity",
        "weights that share one scale",
        ("tensor", "channel", "group"),
        "channel",
        bare=True,
    ),
    Knob("group", "weights of a group along the axis", range(2, 65537), 32),
    Knob(
        "scale",
        "storage of the scale; bf16_f16 is rounded to bfloat16, then stored in float16",
        ("f32", "f16", "bf16", "bf16_f16"),
        "f32",
    ),
    Knob(
        "divisor",
        "symmetric scale: largest magnitude over qmax; over half the steps; the larger of "
        "min/qmin and max/qmax",
        ("qmax", "half", "sides"),
        "qmax",
    ),
    Knob("range", "symmetric codes from -qmax, or from qmin", ("narrow", "full"), "narrow"),
    Knob(
        "using",
        "codes follow the stored scale, or the unrounded",
        ("stored", "unrounded"),
        "stored",
    ),
    Knob(
        "by",
        "weights (not the zero point) are divided, or multiplied by 1/scale",
        ("divide", "reciprocal"),
        "divide",
    ),
    Knob("round", "ties to even, or away from zero", ("half_even", "half_away"), "half_even"),
    Knob("zero", "the zero point is added after or before rounding", ("after", "before"), "after"),
    Knob("extent", "an asymmetric range includes 0.0, or not", ("zero", "data"), "zero"),
    Knob(
        "floor",
        "a scale of 0 becomes 1; scales are at least 2**-23; at least 2**-126; the range is at "
        "least 1e-9; nothing is done",
        ("one", "eps", "tiny", "range", "none"),
        "one",
    ),
    Knob(
        "overflow",
        "a scale beyond its storage becomes the largest finite one, or infinite",
        ("saturate", "infinite"),
        "saturate",
    ),
    Knob(
        "zero_point",
        "qmin less the rounded min/scale, or qmin - min/scale rounded",
        ("rounded", "difference"),
        "rounded",
    ),
    Knob(
        "zero_using",
        "the zero point follows the scale that codes follow, or the unrounded one",
        ("codes", "unrounded"),
        "codes",
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The knobs of one member, as the encoder reads them."""

    knobs: Mapping[str, str | int]

    @property
    def qmax(self) -> int:
        """Largest code."""
        return (1 << (int(self.knobs["bits"]) - 1)) - 1

    @property
    def qmin(self) -> int:
        """Smallest code that two's complement holds."""
        return -self.qmax - 1

    @property
    def lowest(self) -> int:
        """Smallest code in use."""
        return -self.qmax if self["range"] == "narrow" and self["symmetry"] == "sym" else self.qmin

    def __getitem__(self, knob: str) -> str | int:
        return self.knobs[knob]

    def encode(self, x: F32) -> Codes:  # f32[g, n] -> s code[g, 1], z i8[g, 1]?, q code[g, n]
        """Choose a scale (and zero point) for each group by its extremes, then round to nearest."""
        low, high = self._extremes(x)
        scale = self._floored(self._scale(low, high))
        if self["symmetry"] == "sym":
            return self.encode_with(x, scale)
        used, bits = self._used(scale)
        zero = self._zero_point(low / (used if self["zero_using"] == "codes" else scale))
        codes = self._quotient(x, used)
        if self["zero"] == "before":
            codes = self._rounded(codes + zero[:, None])
        else:
            codes = self._rounded(codes) + zero[:, None]
        known = np.where(np.isnan(zero), np.float32(0), zero)
        stored_zero = self._offset(known.astype(np.int8))[:, None]
        return {"s": bits[:, None], "z": stored_zero, "q": self._clipped(codes)}

    def encode_with(
        self, x: F32, scale: F32
    ) -> Codes:  # f32[g, n], f32[g] -> s code[g, 1], q code[g, n]
        """Symmetric codes by scales that were chosen elsewhere, which are stored here first."""
        used, bits = self._used(scale)
        codes = self._rounded(self._quotient(x, used))
        return {"s": bits[:, None], "q": self._clipped(codes)}

    def _used(self, scale: F32) -> tuple[F32, NDArray[np.integer]]:
        """The scale that codes follow, and the bits of the stored one."""
        stored, bits = self._stored(scale)
        if self["floor"] == "one":
            stored, bits = self._stored(self._floored(stored))
        return stored if self["using"] == "stored" else scale, bits

    def _zero_point(self, quotient: F32) -> F32:  # f32[g] -> f32[g]; of min / scale
        lowest = np.float32(self.qmin)
        if self["zero_point"] == "difference":
            return np.asarray(np.clip(self._rounded(lowest - quotient), self.qmin, self.qmax))
        return np.asarray(np.clip(lowest - self._rounded(quotient), self.qmin, self.qmax))

    def _extremes(self, x: F32) -> tuple[F32, F32]:  # f32[g, n] -> f32[g], f32[g]
        if self["extent"] == "zero" or self["symmetry"] == "sym":
            return extremes_and_zero(x)
        return extremes(x)

    def _scale(self, low: F32, high: F32) -> F32:  # f32[g], f32[g] -> f32[g]
        if self["symmetry"] == "asym":
            return self._ranged(high - low) / np.float32(self.qmax - self.qmin)
        if self["divisor"] == "sides":
            sides = np.maximum(low / np.float32(self.qmin), high / np.float32(self.qmax))
            return np.asarray(sides + ZERO)
        steps = self.qmax if self["divisor"] == "qmax" else (self.qmax - self.qmin) / 2
        return self._ranged(np.maximum(-low, high) + ZERO) / np.float32(steps)

    def _ranged(self, extent: F32) -> F32:
        """The extent of a group, at least 1e-9 where the floor is one of ranges."""
        if self["floor"] == "range":
            return np.asarray(np.maximum(extent, np.float32(1e-9)))
        return extent

    def _floored(self, scale: F32) -> F32:
        if self["floor"] in ("range", "none"):
            return scale
        if self["floor"] == "one":
            return np.where(scale == 0, np.float32(1), scale)
        least = np.float32(2.0**-23 if self["floor"] == "eps" else 2.0**-126)
        return np.asarray(np.maximum(scale, least))

    def _quotient(self, x: F32, scale: F32) -> F32:  # f32[g, n], f32[g] -> f32[g, n]
        if self["by"] == "divide":
            return x / scale[:, None]
        return x * (np.float32(1) / scale)[:, None]

    def _rounded(self, x: F32) -> F32:
        return np.rint(x) if self["round"] == "half_even" else round_half_away(x)

    def _clipped(self, codes: F32) -> NDArray[np.int8]:
        """Codes in range; NaN, the quotient of zero by zero, is code 0."""
        held = np.where(np.isnan(codes), np.float32(0), codes)
        return self._offset(np.clip(held, self.lowest, self.qmax).astype(np.int8))

    def _offset(self, codes: NDArray[np.int8]) -> NDArray[np.int8]:
        """Codes as they are stored: one-bit codes -1 and 0 become 0 and 1."""
        return codes + np.int8(1) if self["bits"] == 1 else codes

    def _stored(self, scale: F32) -> tuple[F32, NDArray[np.integer]]:
        """The scale after its storage, and the stored bits.

        The sign of the NaN of 0/0 differs from processor to processor; one NaN is stored.
        """
        storage = str(self["scale"])
        scale = without_signs_of_nan(scale)
        if self["overflow"] == "saturate":
            scale = np.minimum(scale, LARGEST_SCALE[storage])
        if storage == "f32":
            return scale, scale.view(np.uint32)
        if storage == "f16":
            bits = float16_bits(scale)
            return float32_from_float16(bits), bits
        upper = bfloat16_bits(scale)
        if storage == "bf16":
            return float32_from_bfloat16(upper), upper
        bits = float16_bits(float32_from_bfloat16(upper))
        return float32_from_float16(bits), bits


def _codes_field(bits: int) -> tuple[Plane, Field]:
    """Codes of the last axis as a bit stream, in the fewest whole bytes.

    Two's complement has no one-bit numbers, so the codes -1 and 0 are stored as 0 and 1.
    """
    count = 8 // gcd(bits, 8)
    element = Unsigned(1) if bits == 1 else Signed(bits)
    return Plane((count,), count * bits // 8), field("codes", element, f"{count}:{bits}+0")


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, granularity = int(knobs["bits"]), knobs["granularity"]
    group = {"tensor": WHOLE_TENSOR, "channel": (0,), "group": (int(knobs["group"]),)}[
        str(granularity)
    ]
    codes_plane, codes_field = _codes_field(bits)
    element = SCALE_ELEMENTS[str(knobs["scale"])]
    planes = {"codes": codes_plane, "scales": Plane(group, element.bits // 8)}
    fields = {"q": codes_field, "s": field("scales", element, "0", over=group)}
    centred: Expression = ("sub", "q", 1.0) if bits == 1 else "q"
    if knobs["symmetry"] == "asym":
        count = 8 // gcd(bits, 8) if granularity == "group" else 1
        block = (group[0] * count,) if granularity == "group" else group
        planes["zero_points"] = Plane(block, -(-count * bits // 8))
        fields["z"] = replace(codes_field, plane="zero_points", over=group)
        if count != codes_field.count:
            fields["z"] = replace(fields["z"], pieces=((slice_at(bits, "0"),),))
        centred = ("sub", "q", "z")
    return Scheme(
        name=_canonical_name(knobs),
        title=f"{bits}-bit integers, {knobs['symmetry']}metric, a scale per {granularity}",
        layout=Layout(planes, fields, ("mul", "s", centred)),
        encode=Rule(knobs).encode,
        group=group,
        ragged=True,
        parameters=dict(knobs),
    )


def affine_point(name: str, title: str, **knobs: str | int) -> Scheme:
    """The member of the family at the given knobs, under the name of the contract that it is."""
    values = {knob.name: knob.default for knob in KNOBS} | knobs
    return replace(_build(values), name=name, title=title)


def _canonical_name(knobs: Mapping[str, str | int]) -> str:
    size = f"group={knobs['group']}" if knobs["granularity"] == "group" else knobs["granularity"]
    shown = [f"bits={knobs['bits']}", str(knobs["symmetry"]), str(size)]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[4:] if knobs[k.name] != k.default]
    return f"int/affine[{','.join(shown)}]"


AFFINE = Family(
    "int/affine", "Integer codes with a scale per tensor, channel or group", KNOBS, _build
)
