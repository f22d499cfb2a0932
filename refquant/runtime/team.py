"""How processes that share memory compute products together, without waiting longer than pays.

A product takes some tens of microseconds, so the processes do not ask the system for anything: a
worker looks at a word in shared memory until there is a task, and goes to sleep after half a second
without one. The parent computes its own share of the tiles; then it takes what a worker has
published, and computes what none has begun. So where other programs keep a worker off the
processors, or where it is dead, the parent does its work, and nobody waits. A tile that two have
computed is the same bits twice.

A worker that was interrupted long ago may still read and write, so tasks have places in memory of
their own, and a new task takes one that no worker is busy with. Results stay where they are: a
place is free again when nobody holds an array in it any more. Only where a worker is late, so that
it may still write, they are copied (docs/decisions.md, 31, says when that is sound).

Words are written and read in order on x86-64, but for one case: a process's write may come after
its next read. Where that matters, at the beginning of a task on both sides, stands a fence.
"""

import mmap
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from refquant.runtime.arithmetic_mode import primitives
from refquant.runtime.forked import fork
from refquant.runtime.linear import Tiled
from refquant.runtime.ops import Floats
from refquant.runtime.team_control import (
    ALONE,
    ASLEEP,
    BEGUN,
    CHANGING,
    COUNT_BITS,
    ELSEWHERE,
    END,
    EXACT,
    INDEX,
    LEFT,
    READY,
    ROWS,
    SOURCE,
    TASK,
    WORDS,
    shares,
)
from refquant.runtime.team_worker import HEARS, live
from refquant.signals import name_of_signal

__all__ = ["Team"]

# Places for results that are handed out, if they have more rows than copies of them are worth.
LENT: Final = 4
FEW_ROWS: Final = 8

# A worker gets twice the parent's time for a tile, and this, before the parent does it again.
GRACE_SECONDS: Final = 30e-6
ROLL_CALL_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 2.0


class Team:
    """One process and its workers.

    `numbers` is the most that goes into a product or comes out of it.
    """

    def __init__(self, matrices: Sequence[Tiled], size: int, numbers: int) -> None:
        self.matrices, self.size = matrices, size
        self.shares = [shares(matrix.bounds, size) for matrix in matrices]
        self.inputs = [_shared_floats(numbers) for _ in range(LENT + size)]
        self.outputs = [_shared_floats(numbers) for _ in range(LENT + size)]
        self._starts = [_address(one) for one in self.outputs]
        self._unheld = sys.getrefcount(self.outputs[0])
        self.control = memoryview(mmap.mmap(-1, 8 * WORDS * size)).cast("q")
        self._task = 0
        self._roll_call = 0.0
        self._pids: dict[int, int] = {}
        self._bells: dict[int, int] = {}
        self.close = weakref.finalize(
            self, _end, os.getpid(), self.control, self._pids, self._bells
        )
        for rank in range(1, size):
            self._fork(rank)

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers that are not known to have ended."""
        return tuple(self._pids.values())

    def _fork(self, rank: int) -> None:
        ear, bell = os.pipe()
        os.set_blocking(bell, False)
        bells = [*self._bells.values(), bell]
        self._bells[rank] = bell
        self._pids[rank] = fork(lambda: live(self, rank, ear, bells), HEARS)
        os.close(ear)

    def product(self, index: int, x: Floats) -> Floats:  # f32[t, k] -> f32[t, n]
        """The products of every row of x with every row of a matrix."""
        matrix, split = self.matrices[index], self.shares[index]
        task = self._announce(index, x)
        place = task % len(self.outputs)
        found = self.outputs[place][: len(x) * matrix.shape[0]].reshape(len(x), -1)
        began = time.perf_counter()
        matrix.fill(x, found[:, : split.bounds[split.tiles[1]]], 0, split.tiles[1])
        a_tile = (time.perf_counter() - began) / max(split.tiles[1], 1)
        # Few rows, or nobody had let go of a place: what is handed out is a copy.
        y = found if place < LENT else found.copy()
        for rank in range(1, self.size):
            first, last = split.tiles[rank : rank + 2]
            while first < last and self._had_better(task, rank, first, last, a_tile):
                last -= 1
                y = found.copy() if y is found else y
                part = slice(split.bounds[last], split.bounds[last + 1])
                matrix.fill(x, y[:, part], last, last + 1)
            if y is not found:
                part = slice(split.bounds[first], split.bounds[last])
                y[:, part] = found[:, part]
        return y

    def _announce(self, index: int, x: Floats) -> int:
        """Write a task where the workers see it, and wake who sleeps; the task's number.

        The number tells its place.
        """
        control, kind = self.control, primitives()
        control[TASK] = CHANGING
        self.fence()
        self._task = task = self._next_task(lends=len(x) > FEW_ROWS)
        place, source = task % len(self.outputs), self._place_of(x)
        if source == ELSEWHERE:
            self.inputs[place][: x.size].reshape(x.shape)[:] = x
        control[INDEX], control[ROWS], control[SOURCE] = index, len(x), source
        control[EXACT], control[ALONE] = kind.is_exact, kind.each_row_alone
        control[TASK] = task
        for rank, bell in list(self._bells.items()):
            if control[WORDS * rank + ASLEEP]:
                self._ring(bell)
        return task

    def _ring(self, bell: int) -> None:
        """Wake a worker; one that is stopped hears it later, and a dead one is missed."""
        try:
            with suppress(BlockingIOError):
                os.write(bell, b"\0")
        except BrokenPipeError:
            self._call_roll(time.perf_counter())

    def _next_task(self, *, lends: bool) -> int:
        """The number of a task whose place is free: the first such, so that few pages are used.

        Places behind the first LENT are never lent, and there are more of them than workers.
        """
        places = len(self.outputs)
        task = self._task - self._task % places + places + (0 if lends else LENT)
        while self._is_taken(task):
            task += 1
        return task

    def _is_taken(self, task: int) -> bool:
        """Whether the task's place is held, or a worker may still write there for an older task."""
        place = task % len(self.outputs)
        if place < LENT and sys.getrefcount(self.outputs[place]) > self._unheld:
            return True
        for rank in range(1, self.size):
            begun = self.control[WORDS * rank + BEGUN]
            same = begun % len(self.outputs) == place
            if same and begun != self.control[WORDS * rank + LEFT]:
                return True
        return False

    def _place_of(self, x: Floats) -> int:
        """The place that an array fills from its start, or ELSEWHERE."""
        if x.base is not None and len(x) > FEW_ROWS:
            for place in range(LENT):
                if x.base is self.outputs[place]:
                    begins = x.flags.c_contiguous and _address(x) == self._starts[place]
                    return place if begins else ELSEWHERE
        return ELSEWHERE

    def _had_better(self, task: int, rank: int, first: int, last: int, a_tile: float) -> bool:
        """Whether the parent had better compute the tile before `last`; False if it is ready."""
        control, place = self.control, WORDS * rank
        patience = 2 * a_tile + GRACE_SECONDS
        began = time.perf_counter()
        while True:
            ready = control[place + READY]
            count = ready & ((1 << COUNT_BITS) - 1) if ready >> COUNT_BITS == task else 0
            if first + count >= last:
                return False
            waited = time.perf_counter() - began
            if last - first - count > 1 or control[place + BEGUN] != task or waited > patience:
                self._call_roll(began)
                return True

    def fence(self) -> None:
        """Whatever this thread has written is visible before it reads on.

        Taking a lock does that. It is a new one, so that no interrupt leaves it taken.
        """
        threading.Lock().acquire(blocking=False)

    def _call_roll(self, now: float) -> None:
        """See now and then whether the workers are alive."""
        if now - self._roll_call < ROLL_CALL_SECONDS:
            return
        self._roll_call = now
        for rank, pid in list(self._pids.items()):
            how = _how_ended(pid)
            if how is not None:
                del self._pids[rank]
                os.close(self._bells.pop(rank))
                warnings.warn(
                    f"worker process {rank + 1} of {self.size} {how}; "
                    "the results are the same, but come later",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _shared_floats(count: int) -> Floats:
    """Numbers that processes forked later share; pages come with the first use."""
    return np.frombuffer(mmap.mmap(-1, max(4 * count, mmap.PAGESIZE)), np.float32)


def _address(x: Floats) -> int:
    return int(x.__array_interface__["data"][0])


def _how_ended(pid: int) -> str | None:
    """What became of a worker; None while it lives."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # somebody else has asked before
        return "is gone"
    if ended == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was ended by signal {name_of_signal(-code)}"
    return f"ended with status {code}"


def _end(owner: int, control: memoryview, pids: dict[int, int], bells: dict[int, int]) -> None:
    """Tell the workers to end, and see that they do."""
    if os.getpid() != owner:  # a copy of the process that has the workers
        return
    control[TASK] = END
    for bell in bells.values():
        os.close(bell)
    latest = time.monotonic() + PATIENCE_SECONDS
    for pid in pids.values():
        while _how_ended(pid) is None:
            if time.monotonic() > latest:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.0005)
    bells.clear()
    pids.clear()
