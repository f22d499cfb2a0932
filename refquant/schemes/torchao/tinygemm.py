"""torchao's int4 weight-only groups for tinygemm: a scale and a real offset, in bfloat16.

`real = scale * (code - 8) + offset`. The range is that of the weights alone, 0.0 need not be in
it, and the offset is the real number at code 8. Parameters are computed in the dtype of the
weights and rounded to their storage; codes are then chosen from the stored ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.layout import Layout, Plane, Unsigned, field
from refquant.schemes.dtypes import DTYPES, without_signs_of_nan
from refquant.schemes.names import Family, Knob
from refquant.schemes.quads import extremes

__all__ = ["FAMILIES"]

F32 = NDArray[np.float32]
LEAST_SCALE = np.float32(1e-6)

KNOBS = (
    Knob("group", "weights of a group along the axis", range(2, 65537), 128),
    Knob("scale", "storage of scale and offset", ("bf16", "f32"), "bf16"),
    Knob(
        "weights", "dtype of the weights, in which parameters are computed", ("f32", "bf16"), "f32"
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the members round: `weights` after operations on weights, `stored` on parameters."""

    knobs: Mapping[str, str | int]

    def encode(
        self, x: F32
    ) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s code[g, 1], z code[g, 1], q u4[g, n]
        """Codes between the smallest and the largest weight of each group."""
        weights = DTYPES[str(self.knobs["weights"])].rounded
        stored = DTYPES[str(self.knobs["scale"])].rounded
        # An operation on bfloat16 and binary32 is one on binary32.
        mixed = weights if self.knobs["scale"] == "bf16" else stored
        x = weights(x)
        low, high = extremes(x)
        extent = weights(high - low)
        scale = np.maximum(weights(extent / np.float32(15)), weights(np.asarray(LEAST_SCALE)))
        offset = stored(weights(low + weights(scale * np.float32(8))))
        scale = stored(scale)
        least = stored(offset - stored(scale * np.float32(8)))
        codes = np.rint(mixed(mixed(x - least[:, None]) / scale[:, None]))
        held = np.where(np.isnan(codes), np.float32(0), codes)
        return {
            "s": self._bits(scale)[:, None],
            "z": self._bits(offset)[:, None],
            "q": np.clip(held, 0, 15).astype(np.uint8),
        }

    def _bits(self, parameter: F32) -> NDArray[np.integer]:
        """The stored bits; infinity less infinity is NaN, of a sign that varies."""
        return DTYPES[str(self.knobs["scale"])].bits(without_signs_of_nan(parameter))


def _build(knobs: Mapping[str, str | int]) -> Scheme:
    group = int(knobs["group"])
    element = DTYPES[str(knobs["scale"])].element
    size = element.bits // 8
    layout = Layout(
        {
            "codes": Plane((2,), 1),
            "scales": Plane((group,), size),
            "offsets": Plane((group,), size),
        },
        {
            "q": field("codes", Unsigned(4), "2:4+0"),
            "s": field("scales", element, "0", over=group),
            "z": field("offsets", element, "0", over=group),
        },
        ("add", ("mul", "s", ("sub", "q", 8.0)), "z"),
    )
    shown = [f"group={group}"]
    shown += [f"{k.name}={knobs[k.name]}" for k in KNOBS[1:] if knobs[k.name] != k.default]
    return Scheme(
        f"torchao/int4_tinygemm[{','.join(shown)}]",
        "torchao 4-bit groups for tinygemm, a scale and a real offset",
        layout,
        Rule(knobs).encode,
        (group,),
        parameters=dict(knobs),
    )


FAMILIES = (Family("torchao/int4_tinygemm", "torchao 4-bit groups for tinygemm", KNOBS, _build),)
