"""The memory that all matrices of a model share while one after the other becomes numbers."""

from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.runtime.ops import Floats

__all__ = ["TILE_ELEMENTS", "Scratch"]

# Tiles of 0.2 to 0.8 million elements measure alike; smaller ones pay for calls, larger ones fall
# out of the second-level cache.
TILE_ELEMENTS: Final = 1 << 18


class Scratch:
    """One float32 buffer for all matrices of a model, as large as the largest tile needs."""

    def __init__(self) -> None:
        self.size = TILE_ELEMENTS
        self._buffer: Floats | None = None
        self._bytes: NDArray[np.uint8] | None = None
        self._arrays: dict[tuple[int, ...], Floats] = {}

    def reserve(self, elements: int) -> None:
        """See to it that a tile of so many elements will fit."""
        if elements > self.size:
            self.size, self._buffer = elements, None
            self._arrays.clear()

    def rows(self, count: int, columns: int) -> Floats:
        """The first part of the buffer as f32[count, columns]; the next call overwrites it."""
        return self.array((count, columns))

    def array(self, shape: tuple[int, ...]) -> Floats:
        """The same in any shape."""
        found = self._arrays.get(shape)
        if found is None:
            if self._buffer is None:
                self._buffer = np.empty(self.size, np.float32)
            found = self._arrays[shape] = self._buffer[: prod(shape)].reshape(shape)
        return found

    def codes(self, like: NDArray[np.integer]) -> NDArray[np.integer]:
        """An array of bytes of this shape and type; the next call overwrites it."""
        if self._bytes is None or self._bytes.size < like.size:
            self._bytes = np.empty(like.size, np.uint8)
        return self._bytes[: like.size].view(like.dtype).reshape(like.shape)
