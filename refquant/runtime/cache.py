"""The keys and values of every position seen so far, and the types in which they are kept."""

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.errors import LimitError, UsageError
from refquant.runtime.ops import Floats

__all__ = ["CACHE_TYPES", "Cache", "CacheType", "Store"]

CacheType = Literal["float32", "float16", "int8"]

CACHE_TYPES: Final[tuple[CacheType, ...]] = get_args(CacheType)

_KINDS: Final[dict[CacheType, type[np.generic]]] = {
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
}


class Store:
    """Vectors of every layer, head and position: [layers, heads, capacity, head_width].

    float16 keeps each number as the nearest one of binary16, ties to even. int8 keeps a binary32
    scale for each vector, `amax / 127` or 1 where that is 0, and codes `rint(x / scale)`, ties to
    even; what is read is `scale * code`, rounded once.

    A head's positions are neighbours in memory, which is how attention reads them. The operating
    system gives the pages as positions are written, so a generous capacity costs nothing.
    """

    def __init__(self, shape: tuple[int, int, int, int], kind: CacheType) -> None:
        self.numbers: NDArray[np.generic] = np.empty(shape, _KINDS[kind])
        self.scale: Floats | None = np.empty(shape[:3], np.float32) if kind == "int8" else None

    def arrays(self, length: int) -> dict[str, NDArray[np.generic]]:
        """What is kept of the first `length` positions, by the name of its part."""
        scales = {} if self.scale is None else {"scale": self.scale[:, :, :length]}
        return {"numbers": self.numbers[:, :, :length], **scales}

    def write(self, layer: int, start: int, vectors: Floats) -> None:
        """Keep f32[t, heads, head_width] from position `start` on."""
        by_head = vectors.swapaxes(0, 1)
        place = slice(start, start + len(vectors))
        with np.errstate(over="ignore", invalid="ignore"):
            if self.scale is not None:
                amax = np.maximum.reduce(np.abs(by_head), axis=2)
                scale = amax / np.float32(127)
                scale[scale == 0] = 1
                self.scale[layer, :, place] = scale
                by_head = np.clip(np.rint(by_head / scale[:, :, np.newaxis]), -127, 127)
            self.numbers[layer, :, place] = by_head.astype(self.numbers.dtype, copy=False)

    def read(self, layer: int, stop: int, out: Floats) -> Floats:  # f32[h, stop, d] -> the same
        """The first `stop` positions of a layer as numbers, in `out`."""
        np.copyto(out, self.numbers[layer, :, :stop])
        if self.scale is not None:
            out *= self.scale[layer, :, :stop, np.newaxis]
        return out


class Cache:
    """A store for keys and one for values, and a length.

    Other types than float32 are decoded a layer at a time, into one buffer for all layers.
    """

    def __init__(
        self, layers: int, heads: int, capacity: int, head_width: int, kind: CacheType = "float32"
    ) -> None:
        if kind not in CACHE_TYPES:
            raise UsageError(f"a cache can be {', '.join(CACHE_TYPES)}, not {kind!r}")
        self.shape = (layers, heads, capacity, head_width)
        self.kind: CacheType = kind
        self.keys, self.values = Store(self.shape, kind), Store(self.shape, kind)
        self.length = 0
        self._decoded: Floats = np.empty((2, 0), np.float32)

    def of_type(self, kind: CacheType) -> "Cache":
        """An empty cache of the same size and another type."""
        return Cache(*self.shape, kind=kind)

    @property
    def capacity(self) -> int:
        """How many positions fit."""
        return self.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the positions written so far."""
        stores = (self.keys, self.values)
        return sum(part.nbytes for one in stores for part in one.arrays(self.length).values())

    def check_room(self, tokens: int) -> None:
        """Raise LimitError unless `tokens` more positions fit."""
        if self.length + tokens > self.capacity:
            raise LimitError(
                f"the cache holds {self.length} of {self.capacity} positions; "
                f"{tokens} more do not fit"
            )

    def write(self, layer: int, keys: Floats, values: Floats) -> tuple[Floats, Floats]:
        """Put f32[t, heads, head_width] behind what is there; return all of the layer's so far.

        What is returned is what the type has kept, the new ones included, and may be overwritten by
        the next call. The length moves on only with `advance`, when every layer has written.
        """
        stop = self.length + len(keys)
        self.keys.write(layer, self.length, keys)
        self.values.write(layer, self.length, values)
        if self.kind == "float32":
            return _view(self.keys, layer, stop), _view(self.values, layer, stop)
        size = self.shape[1] * stop * self.shape[3]
        if self._decoded.shape[1] < size:
            # Half as much again, so that a growing text does not ask for memory at every token.
            self._decoded = np.empty((2, size + size // 2), np.float32)
        shape = (self.shape[1], stop, self.shape[3])
        first, second = (part[:size].reshape(shape) for part in self._decoded)
        return self.keys.read(layer, stop, first), self.values.read(layer, stop, second)

    def advance(self, tokens: int) -> None:
        """Count `tokens` positions as written by every layer."""
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.length = min(self.length, length)


def _view(store: Store, layer: int, stop: int) -> Floats:  # -> f32[h, stop, d]
    return np.asarray(store.numbers[layer, :, :stop], np.float32)
