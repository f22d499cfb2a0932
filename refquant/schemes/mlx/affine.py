"""MLX's affine groups: `real = scale * code + bias`, codes as one stream of bits, low bits first.

The bias is the edge of the group with the larger magnitude, and the scale is adjusted so that 0.0
lies on a code where that is possible: with `q0 = rint(edge / scale)` it becomes `edge / q0`. Where
the edge is the largest weight, the scale is negative. Codes follow the unrounded scale and bias,
which are stored in the dtype of the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES, without_signs_of_nan
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
LEAST_SCALE = np.float32(1e-7)

KNOBS = (
    Knob("bits", "width of a code", ("2", "3", "4", "5", "6", "8"), "4"),
    Knob("group", "weights of a group along the axis", ("32", "64", "128"), "64"),
    Knob(
        "dtype",
        "dtype to which weights are rounded first, and in which scale and bias are stored",
        ("f32", "f16", "bf16"),
        "f32",
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The largest code and the dtype of one member."""

    largest: int
    dtype: str

    def encode(
        self, x: F32
    ) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], b code[g, 1], q u8[g, n]
        """Codes between the smallest and the largest weight, anchored at the larger edge."""
        dtype = DTYPES[self.dtype]
        x = dtype.rounded(x)
        low, high = extremes(x)
        steps = np.float32(self.largest)
        scale = np.maximum((high - low) / steps, LEAST_SCALE)
        below = np.abs(low) > np.abs(high)
        scale, edge = np.where(below, scale, -scale), np.where(below, low, high)
        anchor = np.rint(edge / scale)
        held = anchor != 0
        scale = np.where(held, edge / np.where(held, anchor, np.float32(1)), scale)
        bias = np.where(held, edge, np.float32(0))
        # Weights beyond float16 make the scale NaN, whose sign depends on the machine.
        scale = without_signs_of_nan(scale)
        codes = np.rint((x - bias[:, None]) / scale[:, None])
        codes = np.where(np.isnan(codes), np.float32(0), np.clip(codes, np.float32(0), steps))
        return {
            "s": dtype.bits(scale)[:, None],
            "b": dtype.bits(bias)[:, None],
            "q": codes.astype(np.uint8),
        }


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, group, dtype = int(knobs["bits"]), int(knobs["group"]), str(knobs["dtype"])
    element, count = DTYPES[dtype].element, 8 // gcd(bits, 8)
    size = element.bits // 8
    layout = Layout(
        {
            "codes": Plane((count,), count * bits // 8),
            "scales": Plane((group,), size),
            "biases": Plane((group,), size),
        },
        {
            "q": field("codes", Unsigned(bits), f"{count}:{bits}+0" if count > 1 else "0"),
            "s": field("scales", element, "0", over=group),
            "b": field("biases", element, "0", over=group),
        },
        ("add", ("mul", "s", "q"), "b"),
    )
    shown = [f"bits={bits}", f"group={group}"] + ([f"dtype={dtype}"] if dtype != "f32" else [])
    return Scheme(
        f"mlx/affine[{','.join(shown)}]",
        f"MLX {bits}-bit groups, a scale and a real bias",
        layout,
        Rule((1 << bits) - 1, dtype).encode,
        (group,),
        parameters=dict(knobs),
    )


FAMILIES = (Family("mlx/affine", "MLX groups, a scale and a real bias", KNOBS, _build),)
