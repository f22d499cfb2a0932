"""A worker of a team (`team.py`): a process that computes its tiles of one task after the other."""

import gc
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from refquant.runtime.arithmetic_mode import arithmetic_of, using
from refquant.runtime.blas import limit_blas_threads
from refquant.runtime.memory import return_freed_memory
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
)

if TYPE_CHECKING:
    from refquant.runtime.team import Team

__all__ = ["HEARS", "live"]

# The parent hears Ctrl-C, and ends the workers.
HEARS: Final = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: signal.SIG_DFL}

LOOKS: Final = 512
IDLE_SECONDS: Final = 0.5
NAP_MILLISECONDS: Final = 50


def live(team: "Team", rank: int, ear: int, bells: list[int]) -> None:
    """A worker's life, until the task is to end."""
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


def _work(team: "Team", rank: int, task: int) -> None:
    """Compute the tiles of a share, one by one, while somebody wants them."""
    control, words = team.control, WORDS * rank
    control[words + BEGUN] = task
    team.fence()
    index, rows, source = control[INDEX], control[ROWS], control[SOURCE]
    kind = arithmetic_of(exact=bool(control[EXACT]), alone=bool(control[ALONE]))
    if control[TASK] == task:
        matrix, split = team.matrices[index], team.shares[index]
        place = task % len(team.outputs)
        given = team.inputs[place] if source == ELSEWHERE else team.outputs[source]
        x = given[: rows * matrix.shape[1]].reshape(rows, -1)
        y = team.outputs[place][: rows * matrix.shape[0]].reshape(rows, -1)
        first, last = split.tiles[rank : rank + 2]
        try:
            with using(kind):
                for tile in range(first, last):
                    if control[TASK] != task:
                        break
                    part = slice(split.bounds[tile], split.bounds[tile + 1])
                    matrix.fill(x, y[:, part], tile, tile + 1)
                    control[words + READY] = (task << COUNT_BITS) + tile + 1 - first
        except Exception:  # noqa: BLE001, S110 - the parent computes the tile, and meets it too
            pass
    control[words + LEFT] = task


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
    return_freed_memory()
    control[place + ASLEEP] = 1
    try:
        while control[TASK] in (last, CHANGING):
            if poll.poll(NAP_MILLISECONDS) and not os.read(ear, 64):
                return False
    finally:
        control[place + ASLEEP] = 0
    return True
