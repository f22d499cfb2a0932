"""Paired timing: candidates take turns in one process, and only ratios within a turn are judged.

The speed of a shared machine drifts by a quarter within minutes, so an absolute time says little;
two candidates that ran within the same second drift together.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Comparison", "Taken", "compare", "compare_taken", "print_table", "taken"]

DISTURBED = 1.1
"""A round counts less where a call waited for others: wall time over processor time."""

FEWEST = 3


@dataclass(frozen=True)
class Comparison:
    """One row of a report: what was done, by whom, and how the times relate.

    `ratio` is the median over rounds of the peer's time over ours: above 1 we are faster.
    """

    task: str
    peer: str
    ours_ns: float
    peer_ns: float
    ratio: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Taken:
    """What one call took: this thread's own time, the system's for it included, and wall time."""

    cpu: float
    wall: float

    @property
    def disturbed(self) -> bool:
        """Whether something else ran meanwhile, which also empties the caches."""
        return self.wall > DISTURBED * self.cpu


def taken(work: Callable[[], object]) -> Taken:
    """What a call of `work` takes, giving back the memory of its result included."""
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return Taken(time.thread_time() - cpu, time.perf_counter() - wall)


def compare_taken(
    task: str,
    ours: Callable[[], Taken],
    peer_name: str,
    peer: Callable[[], Taken],
    *,
    per: int,
    rounds: int = 7,
) -> Comparison:
    """As `compare`, by processor time, of `rounds` rounds in which nothing else ran.

    Three times as many are tried; where fewer than `FEWEST` of them were calm, all count.
    """
    pairs: list[tuple[Taken, Taken]] = []
    calm: list[tuple[Taken, Taken]] = []
    while len(calm) < rounds and len(pairs) < 3 * rounds:
        pairs.append((ours(), peer()))
        if not any(one.disturbed for one in pairs[-1]):
            calm.append(pairs[-1])
    counted = calm if len(calm) >= FEWEST else pairs
    return _summary(task, peer_name, [(mine.cpu, theirs.cpu) for mine, theirs in counted], per)


def compare(
    task: str,
    ours: Callable[[], object],
    peer_name: str,
    peer: Callable[[], object],
    *,
    per: int,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time `ours` and `peer` in turns; times are in nanoseconds for each of `per` items.

    Work that stays in one thread may be measured by `time.thread_time`, which does not count the
    time that other processes take.
    """
    ours()
    peer()
    pairs = [(_seconds(ours, clock), _seconds(peer, clock)) for _ in range(rounds)]
    return _summary(task, peer_name, pairs, per)


def _summary(task: str, peer_name: str, pairs: list[tuple[float, float]], per: int) -> Comparison:
    ratios = [theirs / mine for mine, theirs in pairs]
    mine = statistics.median(pair[0] for pair in pairs) / per * 1e9
    theirs = statistics.median(pair[1] for pair in pairs) / per * 1e9
    return Comparison(
        task, peer_name, mine, theirs, statistics.median(ratios), min(ratios), max(ratios)
    )


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def print_table(rows: list[Comparison], unit: str) -> None:
    """The report as aligned text."""
    print(f"{'task':<34} {'peer':<26} {'ours':>10} {'peer':>10} {'ratio':>7}   range ({unit})")
    for row in rows:
        print(
            f"{row.task:<34} {row.peer:<26} {row.ours_ns:>10.2f} {row.peer_ns:>10.2f} "
            f"{row.ratio:>6.2f}x   {row.lowest:.2f}-{row.highest:.2f}"
        )
