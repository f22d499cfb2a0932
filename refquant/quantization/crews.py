"""Workers: processes of this machine, or those of a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

from refquant.errors import UnsupportedError, UsageError
from refquant.quantization.executors import Crew

__all__ = ["dask_crew", "local_crew"]


@contextmanager
def local_crew(workers: int) -> Iterator[Crew]:
    """Processes of this machine; one that dies is replaced."""
    # Not forked: a copy of a process with threads may wait for ever for a lock.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    pools: list[ProcessPoolExecutor] = []

    def renew() -> Executor:
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_prepare, initargs=(reader,)
        )
        pools.append(pool)
        return pool

    try:
        yield Crew(renew(), workers, renew, writer.close)
    finally:
        # Waiting for workers to end by themselves may take for ever: one that was killed may have
        # held the lock that the others need for that.
        writer.close()
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
        reader.close()


def _prepare(reader: Connection) -> None:
    """Leave interrupts to the parent, and end when it says so or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()


def _end_with(reader: Connection) -> None:
    # Nothing is ever sent: it becomes readable when its other end is closed, as by a death.
    reader.poll(None)
    os._exit(0)


@contextmanager
def dask_crew(address: str) -> Iterator[Crew]:
    """The workers of a running Dask cluster, which replaces those that die.

    UnsupportedError without the package `distributed`; UsageError where no scheduler answers.
    """
    try:
        from distributed import Client  # noqa: PLC0415  (an extra: there may be none)
    except ImportError as error:
        raise UnsupportedError("--dask needs the extra dask: install refquant[dask]") from error
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask {address}: no scheduler answers there ({error})") from error
    try:
        workers = sum(client.nthreads().values())
        if not workers:
            raise UsageError(f"--dask {address}: the cluster has no workers")
        # Not pure: a result of an earlier run is no result of this one.
        yield Crew(client.get_executor(pure=False), workers)
    finally:
        client.close()
