"""HQQ's solver: the zero point of each group moves until the weights' error stops shrinking.

Each round chooses codes, shrinks what they miss towards zero (the proximal operator of an Lp norm),
and makes the zero point the mean of what would then be exact. Every operator rounds to binary32.
The origins take powers and sums from torch, whose last bits depend on the processor: here a power
and a sum are the binary32 numbers nearest to the real ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.correctly_rounded import power, sum_rows

__all__ = ["Solver"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Solver:
    """`iterations` rounds at most; `norm` is p, `beta` the strength, times `kappa` each round.

    A round whose mean error over the whole tensor is not below that of the round before, or
    `first_error`, is the last; its new zero point is kept.
    """

    largest: np.float32
    iterations: int
    beta: float
    norm: float
    kappa: float
    first_error: float

    def codes(self, x: F32, inverse: F32, zero: F32) -> F32:  # f32[g, n], f32[g], f32[g]
        """Codes under an inverse scale and a zero point."""
        nearest = np.rint(x * inverse[:, None] + zero[:, None])
        held: F32 = np.clip(nearest, np.float32(0), self.largest)
        return held

    def zero_points(
        self, x: F32, inverse: F32, zero: F32
    ) -> F32:  # f32[g, n], f32[g], f32[g] -> f32[g]
        """The zero point of each group after the last round."""
        best, beta = np.float32(self.first_error), self.beta
        for _ in range(self.iterations):
            codes = self.codes(x, inverse, zero)
            rest = x - (codes - zero[:, None]) / inverse[:, None]
            kept = x - self._shrunk(rest, beta)
            zero = sum_rows(codes - kept * inverse[:, None]) / np.float32(x.shape[1])
            error = sum_rows(np.abs(rest).reshape(1, -1))[0] / np.float32(x.size)
            if not error < best:
                break
            best, beta = error, beta * self.kappa
        return zero

    def _shrunk(self, rest: F32, beta: float) -> F32:  # f32[g, n] -> f32[g, n]
        """Magnitudes less `1 / beta` times their power p - 1, not below 0, with their signs."""
        magnitude = np.abs(rest)
        strength = np.float32(1.0 / beta)
        if self.norm == 1:
            taken: F32 = np.full_like(magnitude, strength)
        else:
            exponent = np.asarray(self.norm - 1, np.float32)
            taken = strength * power(magnitude, exponent)  # exact: correctly rounded
        return np.maximum(magnitude - taken, np.float32(0)) * np.sign(rest)
