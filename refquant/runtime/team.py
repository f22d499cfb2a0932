"""How processes that share memory compute products together, without waiting longer than pays.

A product takes some tens of microseconds, so the processes do not ask the system for anything: a
worker looks at a word in shared memory until there is a task, and goes to sleep after half a second
without one. The parent computes its own share of the tiles; then it takes what a worker has
published, and computes what none has begun. So where other programs keep a worker off the
processors, or where it is dead, the parent does its work, and nobody waits. A tile that two have
computed is the same bits twice.

A worker that was interrupted long ago may still read and write, so tasks have slots of memory of
their own: as many as there are processes, and a new task takes one that no worker is busy with.
Words are written and read in order on x86-64, but for one case: a process's write may come after
its next read. Where that matters, at the beginning of a task on both sides, stands a fence.
"""

import gc
import mmap
import os
import select
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from refquant.runtime.arithmetic_mode import arithmetic_of, primitives, using
from refquant.runtime.blas import limit_blas_threads
from refquant.runtime.linear import Tiled
from refquant.runtime.ops import Floats

__all__ = ["Team"]

# Words of the shared control block. First the task; TASK is its number, or one of the two below.
TASK, INDEX, ROWS, EXACT, ALONE = range(5)
CHANGING: Final = 0
END: Final = -1
# Then for each worker two cache lines: the task it has begun, how many of its tiles are ready
# (the task's number above the bits of the count), the task it has left, and whether it sleeps.
BEGUN, READY, LEFT, ASLEEP = range(4)
WORDS: Final = 16
COUNT_BITS: Final = 20

LOOKS: Final = 512
IDLE_SECONDS: Final = 0.5
NAP_MILLISECONDS: Final = 50
# A worker gets twice the parent's time for a tile, and this, before the parent does it again.
GRACE_SECONDS: Final = 30e-6
ROLL_CALL_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shares:
    """The first tile of each process's share, and the end; and the first output of every tile."""

    tiles: tuple[int, ...]
    bounds: tuple[int, ...]


def shares(bounds: Sequence[int], size: int) -> Shares:
    """Shares of about as many outputs."""
    ends = np.array(bounds)
    goals = [bounds[-1] * part / size for part in range(1, size)]
    tiles = (0, *(int(np.abs(ends - goal).argmin()) for goal in goals), len(bounds) - 1)
    return Shares(tiles, tuple(bounds))


class Team:
    """One process and its workers.

    `numbers` is the most that goes into a product or comes out of it.
    """

    def __init__(self, matrices: Sequence[Tiled], size: int, numbers: int) -> None:
        self.matrices, self.size = matrices, size
        self.shares = [shares(matrix.bounds, size) for matrix in matrices]
        self.inputs = [_shared_floats(numbers) for _ in range(size)]
        self.outputs = [_shared_floats(numbers) for _ in range(size)]
        self.control = memoryview(mmap.mmap(-1, 8 * WORDS * size)).cast("q")
        self._task = 0
        self._fence = threading.Lock()
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
        with warnings.catch_warnings():
            # Threads of other libraries do not go along; a worker needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _live(self, rank, ear, [*self._bells.values(), bell])
        os.close(ear)
        self._pids[rank], self._bells[rank] = pid, bell

    def product(self, index: int, x: Floats, y: Floats) -> None:  # f32[t, k], f32[t, n]
        """Write the products of every row of x with every row of a matrix."""
        matrix, split = self.matrices[index], self.shares[index]
        task = self._announce(index, x)
        began = time.perf_counter()
        matrix.fill(x, y, 0, split.tiles[1])
        a_tile = (time.perf_counter() - began) / max(split.tiles[1], 1)
        found = self.outputs[task % self.size][: y.size].reshape(y.shape)
        for rank in range(1, self.size):
            first, last = split.tiles[rank : rank + 2]
            if first == last:
                continue
            while self._had_better(task, rank, first, last, a_tile):
                last -= 1
                matrix.fill(x, y, last, last + 1)
            part = slice(split.bounds[first], split.bounds[last])
            y[:, part] = found[:, part]

    def _announce(self, index: int, x: Floats) -> int:
        """Write a task where the workers see it, and wake who sleeps; the task's number."""
        control, kind = self.control, primitives()
        control[TASK] = CHANGING
        self.fence()
        task = self._task + 1
        while self._is_taken(task):
            task += 1
        self._task = task
        self.inputs[task % self.size][: x.size].reshape(x.shape)[:] = x
        control[INDEX], control[ROWS] = index, len(x)
        control[EXACT], control[ALONE] = kind.is_exact, kind.each_row_alone
        control[TASK] = task
        for rank, bell in self._bells.items():
            if control[WORDS * rank + ASLEEP]:
                os.write(bell, b"\0")
        return task

    def _is_taken(self, task: int) -> bool:
        """Whether a worker may still use the slot of this task for an older one."""
        for rank in range(1, self.size):
            begun = self.control[WORDS * rank + BEGUN]
            if begun != self.control[WORDS * rank + LEFT] and (task - begun) % self.size == 0:
                return True
        return False

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
        """Whatever this thread has written is visible before it reads on."""
        self._fence.acquire()
        self._fence.release()

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


def _live(team: Team, rank: int, ear: int, bells: list[int]) -> None:
    """A worker's life; it ends by `os._exit`, so nothing of its parent's is flushed or closed."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends the workers
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for bell in bells:
            os.close(bell)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        limit_blas_threads(1)
        gc.disable()  # it writes into every object, and pages that are written are copied
        task = 0
        with np.errstate(all="ignore"):
            while (task := _next_task(team.control, task, WORDS * rank, ear)) != END:
                _work(team, rank, task)
    finally:
        os._exit(0)


def _work(team: Team, rank: int, task: int) -> None:
    """Compute the tiles of a share, one by one, while somebody wants them."""
    control, place = team.control, WORDS * rank
    control[place + BEGUN] = task
    team.fence()
    index, rows = control[INDEX], control[ROWS]
    kind = arithmetic_of(exact=bool(control[EXACT]), alone=bool(control[ALONE]))
    if control[TASK] == task:
        matrix = team.matrices[index]
        outputs, inputs = matrix.shape
        x = team.inputs[task % team.size][: rows * inputs].reshape(rows, inputs)
        y = team.outputs[task % team.size][: rows * outputs].reshape(rows, outputs)
        first, last = team.shares[index].tiles[rank : rank + 2]
        try:
            with using(kind):
                for tile in range(first, last):
                    if control[TASK] != task:
                        break
                    matrix.fill(x, y, tile, tile + 1)
                    control[place + READY] = (task << COUNT_BITS) + tile + 1 - first
        except Exception:  # noqa: BLE001, S110 - the parent computes the tile, and meets it too
            pass
    control[place + LEFT] = task


def _next_task(control: memoryview, last: int, place: int, ear: int) -> int:
    """Wait for another task than the last; END if there will be none."""
    looks, since = 0, time.monotonic()
    while (task := control[TASK]) in (last, CHANGING):
        looks += 1
        if looks % LOOKS == 0:
            os.sched_yield()
            if time.monotonic() - since > IDLE_SECONDS and not _sleep(control, last, place, ear):
                return END
    return task


def _sleep(control: memoryview, last: int, place: int, ear: int) -> bool:
    """Sleep until the bell rings; False if nobody is left to ring it.

    The parent may miss that this worker falls asleep, so it wakes now and then and looks.
    """
    poll = select.poll()
    poll.register(ear, select.POLLIN)
    control[place + ASLEEP] = 1
    try:
        while control[TASK] in (last, CHANGING):
            if poll.poll(NAP_MILLISECONDS) and not os.read(ear, 64):
                return False
    finally:
        control[place + ASLEEP] = 0
    return True


def _how_ended(pid: int) -> str | None:
    """What became of a worker; None while it lives."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # somebody else has asked before
        return "is gone"
    if ended == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


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
