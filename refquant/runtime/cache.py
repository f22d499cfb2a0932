"""The keys and values of every position seen so far."""

import numpy as np

from refquant.errors import LimitError
from refquant.runtime.ops import Floats

__all__ = ["Cache"]


class Cache:
    """Two preallocated arrays f32[layers, heads, capacity, head_width] and a length.

    A head's positions are neighbours in memory, which is how attention reads them. The operating
    system gives the pages as positions are written, so a generous capacity costs nothing.
    """

    def __init__(self, layers: int, heads: int, capacity: int, head_width: int) -> None:
        self.keys: Floats = np.empty((layers, heads, capacity, head_width), np.float32)
        self.values: Floats = np.empty_like(self.keys)
        self.length = 0

    @property
    def capacity(self) -> int:
        """How many positions fit."""
        return int(self.keys.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes of the positions written so far."""
        return 2 * self.keys[:, :, : self.length].nbytes

    def check_room(self, tokens: int) -> None:
        """Raise LimitError unless `tokens` more positions fit."""
        if self.length + tokens > self.capacity:
            raise LimitError(
                f"the cache holds {self.length} of {self.capacity} positions; "
                f"{tokens} more do not fit"
            )

    def write(self, layer: int, keys: Floats, values: Floats) -> tuple[Floats, Floats]:
        """Put f32[t, heads, head_width] behind what is there; return all of the layer's so far.

        The length moves on only with `advance`, when every layer has written.
        """
        stop = self.length + keys.shape[0]
        self.keys[layer, :, self.length : stop] = keys.swapaxes(0, 1)
        self.values[layer, :, self.length : stop] = values.swapaxes(0, 1)
        return self.keys[layer, :, :stop], self.values[layer, :, :stop]

    def advance(self, tokens: int) -> None:
        """Count `tokens` positions as written by every layer."""
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.length = min(self.length, length)
