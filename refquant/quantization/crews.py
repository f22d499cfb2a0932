"""Workers: processes of this machine, or those of a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for

from refquant.errors import UnsupportedError, UsageError
from refquant.quantization.executors import Crew

__all__ = ["dask_crew", "local_crew"]


@contextmanager
def local_crew(workers: int) -> Iterator[Crew]:
    """Processes of this machine; one that dies is replaced."""
    pools: list[ProcessPoolExecutor] = []

    def renew() -> Executor:
        # Not forked: a copy of a process with threads may wait for ever for a lock.
        context = multiprocessing.get_context("spawn")
        pools.append(ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare))
        return pools[-1]

    try:
        yield Crew(renew(), workers, renew)
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _prepare() -> None:
    """Leave interrupts to the parent, and end when it does, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


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
