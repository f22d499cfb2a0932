"""Checksums and digests of segments, taken beside the writing of their bytes.

Summing and hashing take longer than writing, and none of the three needs Python's lock. So pieces
go to two threads; those of one segment stay in their order.
"""

import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Final

__all__ = ["Summer", "Sums"]

_WORTH_A_THREAD: Final = 1 << 16
"""Bytes that take longer than telling another thread to do it."""

_WORTH_TWO: Final = 1 << 20
"""Bytes whose checksum and digest are taken at once, each in its thread."""

Job = Future[None] | None


class Sums:
    """CRC-32 and SHA-256 of one segment; both are right once its `Summer` has waited for all."""

    def __init__(self) -> None:
        self.crc32 = 0
        self._digest = sha256()
        self.last: tuple[Job, Job] = (None, None)

    def check(self, piece: memoryview) -> None:
        """Continue the checksum."""
        self.crc32 = zlib.crc32(piece, self.crc32)

    def hash(self, piece: memoryview) -> None:
        """Continue the digest."""
        self._digest.update(piece)

    def both(self, piece: memoryview) -> None:
        """Continue both."""
        self.hash(piece)
        self.check(piece)

    def sha256(self) -> bytes:
        """The digest."""
        return self._digest.digest()


class Summer:
    """Two threads that sum pieces, and how many bytes they still have before them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=2)
        self._pending: deque[tuple[int, Future[None]]] = deque()
        self._bytes = 0

    def add(self, sums: Sums, piece: memoryview) -> None:
        """Sum a piece some time before `wait(0)` ends; until then it must stay as it is."""
        summed, hashed = sums.last
        if summed is None and len(piece) < _WORTH_A_THREAD:
            sums.both(piece)
        elif summed is hashed and len(piece) < _WORTH_TWO:
            job = self._submit(sums.both, piece, summed)
            sums.last = job, job
        else:
            sums.last = (
                self._submit(sums.check, piece, summed),
                self._submit(sums.hash, piece, hashed),
            )

    def _submit(
        self, work: Callable[[memoryview], None], piece: memoryview, previous: Job
    ) -> Future[None]:
        job = self._threads.submit(_after, previous, work, piece)
        self._pending.append((len(piece), job))
        self._bytes += len(piece)
        return job

    def wait(self, most: int) -> None:
        """Come back when no more than about `most` bytes are left."""
        while self._pending and (self._bytes > most or self._pending[0][1].done()):
            size, job = self._pending.popleft()
            job.result()
            self._bytes -= size

    def finish(self) -> None:
        """Come back when nothing is left; nothing may follow."""
        self.wait(0)
        self._threads.shutdown()


def _after(previous: Job, work: Callable[[memoryview], None], piece: memoryview) -> None:
    # Jobs begin in their order, so the one before is done or under way in the other thread.
    if previous is not None:
        previous.result()
    work(piece)
