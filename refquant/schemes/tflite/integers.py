"""TFLite integers: a scale, perhaps a zero point, for a tensor, each channel or blocks.

`real = scale * (code - zero_point)`. The converter takes scales from the extremes, which include
0.0 for asymmetric types; codes are those of the operator QUANTIZE. Its reference kernel divides
and sends ties away from zero; the optimized one, which LiteRT takes for whole tensors of int8,
uint8 and int16, multiplies by the reciprocal and sends ties to even. Both use the whole range of
the type. DEQUANTIZE is `scale * (code - zero_point)`, optimized `scale * code - zero_point * scale`
for whole tensors. A scale of 0, by which the operator would divide, is 1 here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.errors import UsageError
from refquant.layout import Expression, Field, Layout, Plane, Signed, Unsigned, field
from refquant.numerics import float16_bits, float32_from_float16, round_half_away
from refquant.schemes.affine import WHOLE_TENSOR
from refquant.schemes.floats import FLOAT16, FLOAT32
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes_and_zero

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
Values = Mapping[str, str | int]

LARGEST = np.finfo(np.float32).max
LARGEST_HALF = np.float32(65504)

SYMMETRY = Knob("symmetry", "0.0 is code 0, or a zero point", ("sym", "asym"), "sym", bare=True)
CHANNEL = Knob(
    "granularity", "weights that share one scale", ("channel", "tensor"), "channel", bare=True
)
TENSOR = Knob(
    "granularity", "weights that share one scale", ("tensor", "channel"), "tensor", bare=True
)
BLOCKS = Knob(
    "granularity",
    "weights that share one scale",
    ("channel", "tensor", "block"),
    "channel",
    bare=True,
)
BLOCK = Knob("block", "weights of a block along the axis", ("32", "64", "128", "256"), "32")
KERNEL = Knob(
    "kernel",
    "the reference kernels of QUANTIZE and DEQUANTIZE, or the optimized ones for whole tensors",
    ("reference", "optimized"),
    "reference",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of TFLite: its codes, and whether they have a zero point."""

    element: Signed | Unsigned
    asymmetric: bool = False

    @property
    def least(self) -> int:
        """Smallest code of the type."""
        return -(1 << (self.element.bits - 1)) if isinstance(self.element, Signed) else 0

    @property
    def most(self) -> int:
        """Largest code of the type."""
        return self.least + (1 << self.element.bits) - 1


def symmetric_scale(x: F32, kind: Kind) -> F32:  # f32[g, n] -> f32[g]
    """The largest magnitude over the largest code."""
    return np.asarray(np.maximum.reduce(np.abs(x), axis=1) / np.float32(kind.most))


def asymmetric(x: F32, kind: Kind) -> tuple[F32, F32]:  # f32[g, n] -> f32[g], f32[g]
    """The range with 0.0 over the steps, and the code of 0.0."""
    low, high = extremes_and_zero(x)
    least, most = np.float32(kind.least), np.float32(kind.most)
    scale = usable((high - low) / (most - least), LARGEST)
    return scale, np.clip(round_half_away(least - low / scale), least, most)


def usable(scale: F32, largest: np.float32) -> F32:  # f32[g] -> f32[g]
    """The scale, 1 where it is 0, and finite."""
    return np.where(scale == 0, np.float32(1), np.minimum(scale, largest))


def encode(
    kind: Kind, knobs: Values, x: F32
) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], z code[g, 1]?, q code[g, n]
    """Codes of the type nearest to weights over the scale, the zero point added after rounding."""
    zero: F32 = np.zeros(len(x), np.float32)
    if kind.asymmetric:
        scale, zero = asymmetric(x, kind)
        stored: NDArray[np.integer] = scale.view(np.uint32)
    elif knobs.get("granularity") == "block":
        exact = np.minimum(symmetric_scale(x, kind), LARGEST_HALF)
        scale = usable(float32_from_float16(float16_bits(exact)), LARGEST_HALF)
        stored = float16_bits(scale)
    else:
        scale = usable(symmetric_scale(x, kind), LARGEST)
        stored = scale.view(np.uint32)
    if knobs.get("kernel") == "optimized" and kind.element.bits >= 8:
        product = x * (np.float32(1) / scale)[:, None]
        rounded = np.rint(np.where(np.isnan(product), np.float32(0), product))
    else:
        rounded = round_half_away(x / scale[:, None])
    limited = np.clip(rounded + zero[:, None], kind.least, kind.most)
    found = {"s": stored[:, None], "q": limited.astype(np.int32)}
    return found | ({"z": zero.astype(np.int32)[:, None]} if kind.asymmetric else {})


def _layout(kind: Kind, share: tuple[int, ...], *, half: bool, apart: bool) -> Layout:
    """Codes packed low bits first, scales and zero points beside them."""
    bits, scale = kind.element.bits, FLOAT16 if half else FLOAT32
    count = max(8 // bits, 1)
    place = f"{count}:{bits}+0" if count > 1 else "0"
    planes = {
        "codes": Plane((count,), count * bits // 8),
        "scales": Plane(share, scale.bits // 8),
    }
    fields: dict[str, Field] = {
        "q": field("codes", kind.element, place),
        "s": field("scales", scale, "0", over=share),
    }
    value: Expression = ("mul", "s", "q")
    if kind.asymmetric:
        wide = Signed(8) if isinstance(kind.element, Signed) else Unsigned(8)
        planes["zero_points"] = Plane(share, 1)
        fields["z"] = field("zero_points", wide, "0", over=share)
        value = ("sub", value, ("mul", "z", "s")) if apart else ("mul", "s", ("sub", "q", "z"))
    return Layout(planes, fields, value)


def _scheme(name: str, kind: Kind, knobs: Values) -> Scheme:
    granularity = str(knobs.get("granularity", "tensor"))
    optimized = knobs.get("kernel") == "optimized"
    if optimized and granularity != "tensor":
        raise UsageError(f"scheme {name}: kernel=optimized is for whole tensors")
    if knobs.get("symmetry") == "asym":
        if granularity == "block":
            raise UsageError(f"scheme {name}: blocks have no zero points")
        kind = Kind(kind.element, asymmetric=True)
    block = granularity == "block"
    share = (int(knobs["block"]),) if block else (0,) if granularity == "channel" else WHOLE_TENSOR
    shown = [str(knobs["symmetry"])] if "symmetry" in knobs else []
    shown += [f"block={knobs['block']}" if block else granularity] if "granularity" in knobs else []
    shown += ["kernel=optimized"] if optimized else []
    return Scheme(
        f"{name}[{','.join(shown)}]" if shown else name,
        f"TFLite {name.partition('/')[2]}, {'a' if kind.asymmetric else ''}symmetric, "
        f"a scale per {granularity}",
        _layout(kind, share, half=block, apart=optimized),
        partial(encode, kind, dict(knobs)),
        share,
        parameters=dict(knobs),
    )


def _family(bits: int, *knobs: Knob, unsigned: bool = False) -> Family:
    kind = Kind(Unsigned(bits), asymmetric=True) if unsigned else Kind(Signed(bits))
    name = f"tflite/{'u' if unsigned else ''}int{bits}"
    return Family(name, f"TFLite's {name[7:]} tensors", knobs, partial(_scheme, name, kind))


FAMILIES = (
    _family(8, SYMMETRY, BLOCKS, BLOCK, KERNEL),
    _family(8, TENSOR, KERNEL, unsigned=True),
    _family(16, KERNEL),
    _family(4, BLOCKS, BLOCK),
    _family(4, TENSOR, KERNEL, unsigned=True),
    _family(2, CHANNEL),
)
