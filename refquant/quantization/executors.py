"""Tensors made by an executor, ahead of their turn, and shards filled by one.

Any `concurrent.futures.Executor` will do. No more than one tensor more than there are workers is
on its way or waits to be written, so memory does not grow with the model. Planes are the same
bytes wherever they are made, and are taken in the order of the file; so the file is the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refquant.errors import LimitError
from refquant.formats.rq import FilledShard, ShardOrder
from refquant.quantization.work import Answer, TensorWork, answered, fill, make_planes

__all__ = ["Ahead", "Crew", "shards_by"]

Planes = Mapping[str, NDArray[np.uint8]]

_ATTEMPTS: Final = 3
"""How often a piece of work may take its worker down before the work itself is blamed."""


class Crew:
    """An executor, how many workers it has, and how to get another when its workers have died.

    `renew` gives a fresh executor; without it the death of a worker is the end, unless the
    executor itself replaces workers, as a cluster does. `stop` ends workers in the middle of
    their work, where that can be done.
    """

    def __init__(
        self,
        executor: Executor,
        workers: int,
        renew: Callable[[], Executor] | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        self.executor = executor
        self.workers = max(workers, 1)
        self._renew = renew
        self._stop = stop
        self._deaths: dict[str, int] = {}

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Answer]":
        """Have some work done."""
        try:
            return self.executor.submit(answered, work, *arguments)
        except BrokenExecutor:
            if self._renew is None:
                raise
            self.executor = self._renew()
            return self.executor.submit(answered, work, *arguments)

    def stop(self) -> None:
        """Nobody waits for anything any more."""
        if self._stop is not None:
            self._stop()

    def died(self, what: str, error: BaseException) -> None:
        """A worker died at some work, or at the same time; raises LimitError if that is no luck."""
        self._deaths[what] = self._deaths.get(what, 0) + 1
        if self._renew is None or self._deaths[what] >= _ATTEMPTS:
            raise LimitError(
                f"workers died while {what} was quantized ({type(error).__name__}: {error}); "
                "perhaps memory is short, and fewer workers need less"
            ) from error


class Ahead:
    """Planes of tensors by name, asked for in the order of their names."""

    def __init__(self, crew: Crew, work: Mapping[str, TensorWork]) -> None:
        self._crew = crew
        self._work = dict(sorted(work.items()))
        self._names = list(self._work)
        self._places = {name: place for place, name in enumerate(self._names)}
        self._begun: dict[str, Future[Answer]] = {}

    def planes(self, name: str) -> Planes:
        """The planes of one tensor, while those after it are begun."""
        place = self._places[name]
        while True:
            for ahead in self._names[place : place + self._crew.workers + 1]:
                if ahead not in self._begun:
                    self._begun[ahead] = self._crew.submit(make_planes, self._work[ahead])
            try:
                answer = self._begun.pop(name).result()
            except Exception as error:  # noqa: BLE001  (each executor has its own for a death)
                self._begun.clear()
                self._crew.died(name, error)
            else:
                found: Planes = answer.value()
                return found

    def close(self) -> None:
        """Begin nothing more."""
        for future in self._begun.values():
            future.cancel()
        self._begun.clear()


def shards_by(
    crew: Crew, work: Mapping[str, TensorWork]
) -> Callable[[Sequence[ShardOrder]], Iterator[FilledShard]]:
    """A runner that has each shard filled by a worker, which writes it itself."""

    def run(orders: Sequence[ShardOrder]) -> Iterator[FilledShard]:
        waiting = list(reversed(orders))
        begun: dict[Future[Answer], ShardOrder] = {}
        try:
            while waiting or begun:
                while waiting and len(begun) < crew.workers:
                    order = waiting.pop()
                    parts = tuple(work[name] for name in order.names)
                    begun[crew.submit(fill, order, parts)] = order
                for future in wait(begun, return_when=FIRST_COMPLETED).done:
                    order = begun.pop(future)
                    try:
                        answer = future.result()
                    except Exception as error:  # noqa: BLE001  (as above)
                        crew.died(f"shard {order.number}", error)
                        waiting.append(order)
                    else:
                        yield answer.value()
        finally:
            if begun:
                crew.stop()
            for future in begun:
                future.cancel()
            # What is being filled must end before anybody takes its file away.
            wait(begun)

    return run
