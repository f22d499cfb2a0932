"""Arrays that a rule counts out, so that no pack has to store them (S-15 of `conformance/SPEC.md`).

All codes of a format under all scales are megabytes; the rule that lists them is a line.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Lane", "counted_bytes", "record_bytes"]


class Lane(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of each record: `count` little-endian numbers of `bytes` bytes.

    Number i of record k is `start + step * (k // every) + next * i`, modulo 2 ** (8 * bytes).
    """

    bytes: int
    start: int = 0
    step: int = 0
    every: int = 1
    count: int = 1
    next: int = 0

    def numbers(self, records: int) -> NDArray[np.uint8]:
        """The bytes of the lane in all records, u8[records, count * bytes]."""
        steps = np.arange(records, dtype=np.uint64) // np.uint64(self.every) * _wrapped(self.step)
        among = np.arange(self.count, dtype=np.uint64) * _wrapped(self.next)
        found = _wrapped(self.start) + steps[:, np.newaxis] + among
        raw = found.astype("<u8").view(np.uint8).reshape(records, self.count, 8)
        return raw[:, :, : self.bytes].reshape(records, self.count * self.bytes)


def _wrapped(number: int) -> np.uint64:
    return np.uint64(number % (1 << 64))


def record_bytes(lanes: tuple[Lane, ...]) -> int:
    """How long a record is; 0 where a lane is none."""
    proper = all(1 <= one.bytes <= 8 and one.count >= 1 and one.every >= 1 for one in lanes)
    return sum(one.bytes * one.count for one in lanes) if proper else 0


def counted_bytes(lanes: tuple[Lane, ...], size: int) -> bytes:
    """The first `size` bytes of the records: the lanes of one beside each other, then the next."""
    records = size // record_bytes(lanes)
    return np.concatenate([one.numbers(records) for one in lanes], axis=1).tobytes()
