"""SplitMix64: random numbers that are the same on every machine and under every NumPy.

Test inputs are named by a seed only where the generator is part of the definition. This one is
20 lines in any language: Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014; the constants are those of its reference implementation.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["SplitMix64"]

GAMMA = 0x9E3779B97F4A7C15
MIX1 = np.uint64(0xBF58476D1CE4E5B9)
MIX2 = np.uint64(0x94D049BB133111EB)
MASK = (1 << 64) - 1


class SplitMix64:
    """A stream of 64-bit numbers from `seed`."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def bits(self, *shape: int) -> NDArray[np.uint64]:  # -> u64[*shape]
        """The next numbers, 64 random bits each."""
        count = int(np.prod(shape, dtype=np.int64))
        steps = np.arange(1, count + 1, dtype=np.uint64)
        z = steps * np.uint64(GAMMA) + np.uint64(self.state)
        self.state = (self.state + count * GAMMA) & MASK
        z = (z ^ (z >> np.uint64(30))) * MIX1
        z = (z ^ (z >> np.uint64(27))) * MIX2
        return np.asarray(z ^ (z >> np.uint64(31))).reshape(shape)

    def data(self, count: int) -> bytes:
        """The next `count` random bytes."""
        return self.bits(-(-count // 8)).astype("<u8").tobytes()[:count]

    def below(self, bound: int, *shape: int) -> NDArray[np.int64]:  # -> i64[*shape]
        """Integers from 0 to `bound - 1`, by the upper half of each number."""
        high = self.bits(*shape) >> np.uint64(32)
        return (high * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def uniform(self, *shape: int) -> NDArray[np.float64]:  # -> f64[*shape]
        """Numbers from -1 up to 1, multiples of 2**-52."""
        return (self.bits(*shape) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0

    def bell(self, *shape: int) -> NDArray[np.float32]:  # -> f32[*shape]
        """Numbers of a bell shape with variance 1: the sum of twelve uniforms, over two.

        The twelve parts are multiples of 2**-52 and their sum is exact, so that no function of
        the C library and no order of summation can change a bit.
        """
        parts = self.uniform(*shape, 12)
        total = parts[..., 0]
        for k in range(1, 12):
            total = total + parts[..., k]
        return (total * 0.5).astype(np.float32)
