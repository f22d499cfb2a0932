"""QuantizeLinear's arithmetic, and the plain choice of its scale and zero point.

The operator says what a code is: `saturate(round(x / scale) + zero_point)`, ties to even. It does
not say where scale and zero point come from; the choice here is DynamicQuantizeLinear's for every
width, and for symmetric members the largest magnitude over qmax.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.quads import extremes_and_zero

__all__ = ["Rule"]

F32 = NDArray[np.float32]

LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True, slots=True)
class Rule:
    """How a member's codes are chosen; an unsigned symmetric zero point is the middle code."""

    bits: int
    signed: bool
    symmetric: bool

    def encode(
        self, x: F32
    ) -> Mapping[str, NDArray[np.integer]]:  # f32[g, n] -> s f32[g, 1], z code[g, 1]?, q code[g, n]
        """Scale and zero point by the extremes of each group, 0.0 among them."""
        steps = np.float32((1 << self.bits) - 1)
        least = np.float32(-(1 << (self.bits - 1)) if self.signed else 0)
        most = least + steps
        low, high = extremes_and_zero(x)
        if self.symmetric:
            scale = np.maximum(-low, high) / np.float32((1 << (self.bits - 1)) - 1)
        else:
            scale = np.minimum((high - low) / steps, LARGEST)
        scale = np.where(scale == 0, np.float32(1), scale)
        if self.symmetric:
            zero = np.full_like(scale, 0 if self.signed else 1 << (self.bits - 1))
        else:
            zero = np.rint(np.clip(least - low / scale, least, most))
        codes = np.clip(np.rint(x / scale[:, None]) + zero[:, None], least, most)
        dtype = np.dtype(f"{'i' if self.signed else 'u'}{2 if self.bits > 8 else 1}")
        found = {"s": scale.view(np.uint32)[:, None], "q": codes.astype(dtype)}
        stored = {"z": zero.astype(dtype)[:, None]}
        return found if self.symmetric and self.signed else found | stored
