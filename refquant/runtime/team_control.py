"""The words that the processes of a team share, and how a product's work is divided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Shares", "shares"]

# Words of the shared control block. First the task; TASK is its number, or one of the two below.
TASK, INDEX, ROWS, EXACT, ALONE, SOURCE = range(6)
CHANGING: Final = 0
END: Final = -1
# SOURCE is the place of an earlier result that is multiplied, unless it had to be copied.
ELSEWHERE: Final = -1
# Then for each worker two cache lines: the task it has begun, how many of its tiles are ready
# (the task's number above the bits of the count), the task it has left, and whether it sleeps.
BEGUN, READY, LEFT, ASLEEP = range(4)
WORDS: Final = 16
COUNT_BITS: Final = 20


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
