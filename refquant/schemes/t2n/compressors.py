"""torch-to-nnef's chains of lossless compressors over the bytes of codes.

A tensor of the package keeps its codes one a byte and hands them to a list of compressors, bytes to
bytes, each taking what the one before it gave; reading goes through them backwards. The package
ships the interface alone. Here are the two that its documentation names as uses: bits packed
together, and a general compressor.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refquant.errors import FormatError, LimitError, SchemeError

__all__ = ["BitPacking", "Deflate", "U8Compressor", "compress", "decompress"]

Bytes = NDArray[np.uint8]

MOST_BYTES = 1 << 34
"""The most that a stream may grow to, whatever its writer says."""


class U8Compressor(Protocol):
    """One lossless step: `decompress(compress(x), x.size)` is `x`, for one axis of bytes."""

    def compress(self, data: Bytes) -> Bytes:
        """The bytes that are kept."""

    def decompress(self, data: Bytes, size: int) -> Bytes:
        """The `size` bytes that `compress` was given."""


@dataclass(frozen=True, slots=True)
class BitPacking:
    """Codes of 1, 2 or 4 bits, 8 / bits of them in a byte, the first in the low bits.

    The last byte is filled up with zeros.
    """

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (1, 2, 4):
            raise SchemeError(f"codes of {self.bits} bits, expected 1, 2 or 4")

    def compress(self, data: Bytes) -> Bytes:
        """Bytes of several codes; raises `SchemeError` for a code that has more bits."""
        if data.size and int(data.max()) >> self.bits:
            raise SchemeError(f"code {int(data.max())} has more than {self.bits} bits")
        count = 8 // self.bits
        codes = np.pad(data, (0, -data.size % count)).reshape(-1, count)
        packed = np.zeros(len(codes), np.uint8)
        for k in range(count):
            packed |= codes[:, k] << np.uint8(self.bits * k)
        return packed

    def decompress(self, data: Bytes, size: int) -> Bytes:
        """One code a byte; raises `FormatError` where there are fewer, or bits behind the last."""
        count = 8 // self.bits
        if data.size != -(-size // count):
            message = f"{data.size} bytes for {size} codes of {self.bits} bits"
            raise FormatError("E_CODE_PAD", message, where="$")
        shifts = np.arange(count, dtype=np.uint8) * np.uint8(self.bits)
        codes = (data[:, None] >> shifts & np.uint8((1 << self.bits) - 1)).reshape(-1)
        if codes[size:].any():
            raise FormatError("E_CODE_PAD", "bits behind the last code are not zero", where="$")
        return codes[:size]


@dataclass(frozen=True, slots=True)
class Deflate:
    """A zlib stream; its bytes depend on the library's version, what it gives back does not."""

    level: int = 9

    def compress(self, data: Bytes) -> Bytes:
        """The stream."""
        return np.frombuffer(zlib.compress(data.tobytes(), self.level), np.uint8)

    def decompress(self, data: Bytes, size: int) -> Bytes:
        """The bytes that the stream holds; `FormatError` where it is damaged or has another size.

        Nothing beyond `size` bytes is expanded.
        """
        if size > MOST_BYTES:
            raise LimitError(f"a stream of {size} bytes, more than {MOST_BYTES}")
        reader = zlib.decompressobj()
        try:
            raw = reader.decompress(data.tobytes(), size + 1)
        except zlib.error as error:
            raise FormatError("E_FRAME", f"no zlib stream: {error}", where="$") from error
        if len(raw) != size or not reader.eof or reader.unused_data:
            raise FormatError("E_FRAME", f"the stream does not hold {size} bytes", where="$")
        return np.frombuffer(raw, np.uint8)


def compress(data: Bytes, chain: Sequence[U8Compressor]) -> tuple[Bytes, tuple[int, ...]]:
    """What is kept of `data` after every step in turn, and the size that each step was given."""
    kept, sizes = np.ascontiguousarray(data).reshape(-1), []
    for step in chain:
        sizes.append(kept.size)
        kept = step.compress(kept)
    return kept, tuple(sizes)


def decompress(data: Bytes, chain: Sequence[U8Compressor], sizes: Sequence[int]) -> Bytes:
    """The bytes that `compress` was given: the steps backwards."""
    for step, size in zip(reversed(chain), reversed(sizes), strict=True):
        data = step.decompress(data, size)
    return data
