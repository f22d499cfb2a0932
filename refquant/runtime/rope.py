"""The frequencies of rotary positions, stretched as a model's fields say.

`spec/arch/rotary.md` states the formulas. Everything here is computed once for a model, in float64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import FieldValue
from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.ops import Floats, RopeStyle, rope_table, rotate

__all__ = ["Rope", "frequencies", "rope_of"]

Frequencies = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """How far each pair of elements turns from one position to the next, and what else it does.

    `size` multiplies whatever is rotated.
    """

    frequencies: Frequencies
    style: RopeStyle
    size: float = 1.0

    def table(self, start: int, tokens: int) -> NDArray[np.complex64]:
        """The rotations of `tokens` positions from `start` on."""
        return rope_table(start, tokens, self.frequencies, self.size)

    def turn(
        self, x: Floats, table: NDArray[np.complex64]
    ) -> Floats:  # f32[t, h, d], c64[t, d / 2] -> f32[t, h, d]
        """Every head's pairs, turned by their position's angles."""
        return rotate(x, table, self.style)


def rope_of(fields: Mapping[str, FieldValue], factors: Floats | None) -> Rope:
    """The rotation that checked fields describe; `factors` divide the frequencies."""
    turns = frequencies(float(fields["rope_theta"]), int(fields["head_width"]))
    if factors is not None:
        turns = turns / factors.astype(np.float64)
    scaling = fields.get("rope_scaling")
    if scaling == "linear":
        turns = turns / float(fields["rope_factor"])
    elif scaling == "llama3":
        turns = _llama3(turns, fields)
    elif scaling == "yarn":
        turns = _yarn(turns, fields)
    style: RopeStyle = "interleaved" if fields["rope_style"] == "interleaved" else "halves"
    return Rope(turns, style, float(fields.get("rope_size", 1.0)))


def frequencies(theta: float, head_width: int) -> Frequencies:  # -> f64[head_width / 2]
    """theta**(-2i / head_width) radians a position, for each pair i."""
    return primitives().frequencies(theta, head_width)


def _llama3(
    turns: Frequencies, fields: Mapping[str, FieldValue]
) -> Frequencies:  # f64[n], fields -> f64[n]
    """Pairs that turn often within the original context stay; those that hardly turn are slowed.

    Between `rope_low_frequency` and `rope_high_frequency` turns one goes over into the other.
    """
    low, high = float(fields["rope_low_frequency"]), float(fields["rope_high_frequency"])
    count = int(fields["rope_original_context"]) * turns / (2 * math.pi)
    stays = np.clip((count - low) / (high - low), 0.0, 1.0)
    return np.asarray((1 - stays) * turns / float(fields["rope_factor"]) + stays * turns)


def _yarn(
    turns: Frequencies, fields: Mapping[str, FieldValue]
) -> Frequencies:  # f64[n], fields -> f64[n]
    """The same idea with the borders between pairs, and a straight line from one to the other.

    Peng et al., YaRN (2023), section 3.2, with the borders as in their code: the pair that turns
    `beta` times within the original context, rounded outwards if `rope_truncated`.
    """
    width, theta = 2 * len(turns), float(fields["rope_theta"])
    original = int(fields["rope_original_context"])

    def pair(count: float) -> float:
        return width * math.log(original / (count * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair(float(fields["rope_beta_fast"])), pair(float(fields["rope_beta_slow"]))
    if fields["rope_truncated"]:
        low, high = float(math.floor(low)), float(math.ceil(high))
    low, high = max(low, 0.0), min(high, width - 1.0)
    if low == high:
        high += 0.001  # as in their code: a line cannot be vertical
    slowed = np.clip((np.arange(len(turns)) - low) / (high - low), 0.0, 1.0)
    return np.asarray(slowed * turns / float(fields["rope_factor"]) + (1 - slowed) * turns)
