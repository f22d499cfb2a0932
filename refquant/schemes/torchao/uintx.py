"""`torchao/afpwx`: unsigned codes with a scale and a real offset, for kernels of Apple's GPUs.

`real = code * scale + offset`; the offset is the real number at code 0. With `algorithm=min_max`
the range is that of the weights alone, nothing keeps a scale from being 0, and every operation is
rounded to the dtype of the weights. A group of equal weights then has scale 0 and offset NaN:
`mode=fixed` stores the weight itself as the offset. With `algorithm=hqq` the zero point is the
solver's (hqq.py), in binary32; parameters are rounded to the dtype after codes are chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import gcd

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES, without_signs_of_nan
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes
from refquant.schemes.torchao.hqq import STORAGE, solver_of, start_of

__all__ = ["FAMILIES", "Rule"]

F32 = NDArray[np.float32]
Codes = Mapping[str, NDArray[np.integer]]
ONE = np.float32(1)

KNOBS = (
    Knob("bits", "width of a code", range(1, 9), 4),
    Knob("group", "weights of a group along the axis", range(2, 65537), 128),
    Knob(
        "scale",
        "dtype of the weights, to which operations are rounded and in which parameters are stored",
        STORAGE,
        "f32",
    ),
    Knob("algorithm", "the range of the weights, or HQQ's solver", ("min_max", "hqq"), "min_max"),
    Knob(
        "mode",
        "equal weights have scale 0 and offset NaN, as in torchao, or themselves as the offset",
        ("strict", "fixed"),
        "strict",
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The knobs of one member, as the encoder reads them."""

    knobs: Mapping[str, str | int]

    def encode(self, x: F32) -> Codes:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u8[g, n]
        """Codes and parameters by the member's algorithm."""
        x = self.rounded(x)
        solve = self.solved if self.knobs["algorithm"] == "hqq" else self.ranged
        scale, offset, codes = solve(x)
        return {"s": self.bits(scale)[:, None], "z": self.bits(offset)[:, None], "q": codes}

    def ranged(self, x: F32) -> tuple[F32, F32, NDArray[np.uint8]]:
        """Scale, offset and codes between the smallest and the largest weight of each group."""
        low, high = extremes(x)
        top = np.float32((1 << int(self.knobs["bits"])) - 1)
        scale = self.rounded(self.rounded(high - low) / top)
        zero = np.float32(0) - np.rint(self.rounded(low / scale))
        product = self.rounded(x * self.rounded(ONE / scale)[:, None])
        codes = np.rint(self.rounded(product + zero[:, None]))
        offset = self.rounded(-zero * scale)
        if self.knobs["mode"] == "fixed":
            offset = np.where(scale == 0, low + np.float32(0), offset)
        # Equal weights give infinity less infinity; torch turns that NaN into code 0.
        held = np.where(np.isnan(codes), np.float32(0), codes)
        return scale, offset, np.clip(held, np.float32(0), top).astype(np.uint8)

    def solved(self, x: F32) -> tuple[F32, F32, NDArray[np.uint8]]:
        """Scale, offset and codes under the zero point of the solver."""
        bits = int(self.knobs["bits"])
        inverse, zero = start_of(x, bits)
        solver = solver_of(bits, 20)
        zero = solver.zero_points(x, inverse, zero)
        scale = self.rounded(ONE / inverse)
        offset = self.rounded(-self.rounded(zero) * scale)
        return scale, offset, solver.codes(x, inverse, zero).astype(np.uint8)

    def rounded(self, x: F32) -> F32:  # f32[...] -> f32[...]
        """The nearest numbers of the weights' dtype."""
        return DTYPES[str(self.knobs["scale"])].rounded(x)

    def bits(self, parameter: F32) -> NDArray[np.integer]:
        """The stored bits; infinity times 0 is NaN, of a sign that varies."""
        return DTYPES[str(self.knobs["scale"])].bits(without_signs_of_nan(parameter))


def _layout(bits: int, group: int, storage: str) -> Layout:
    count, element = 8 // gcd(bits, 8), DTYPES[storage].element
    parameter = Plane((group,), element.bits // 8)
    return Layout(
        {"codes": Plane((count,), count * bits // 8), "scales": parameter, "offsets": parameter},
        {
            "q": field("codes", Unsigned(bits), f"{count}:{bits}+0" if count > 1 else "0"),
            "s": field("scales", element, "0", over=group),
            "z": field("offsets", element, "0", over=group),
        },
        ("add", ("mul", "q", "s"), "z"),
    )


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    bits, group = int(knobs["bits"]), int(knobs["group"])
    shown = [f"bits={bits}", f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[2:] if knobs[k.name] != k.default]
    return Scheme(
        f"torchao/afpwx[{','.join(shown)}]",
        f"torchao {bits}-bit unsigned groups, a scale and a real offset at code 0",
        _layout(bits, group, str(knobs["scale"])),
        partial(Rule.encode, Rule(knobs)),
        (group,),
        parameters=dict(knobs),
        whole=knobs["algorithm"] == "hqq",
    )


FAMILIES = (
    Family("torchao/afpwx", "torchao unsigned groups for kernels of Apple's GPUs", KNOBS, _build),
)
