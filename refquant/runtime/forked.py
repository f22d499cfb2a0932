"""Children that are copies of this process, and are not interrupted before they have begun.

A child inherits its parent's place in the code. If a Ctrl-C reached it there, it would go back
through its parent's calls: close the parent's files, print the parent's error, end as the parent.
"""

import os
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import NoReturn

__all__ = ["fork"]

Dispositions = Mapping[signal.Signals, signal.Handlers]


def fork(life: Callable[[], object], dispositions: Dispositions) -> int:
    """The number of a child that calls `life` and ends, with status 1 where that raises.

    `dispositions` says what the child does about some signals, in place of what its parent does;
    one that comes earlier waits until that is settled. Nothing of the parent's is flushed or
    closed when the child ends.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Threads of other libraries do not go along; a child needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _live(life, dispositions, former)
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _live(
    life: Callable[[], object], dispositions: Dispositions, mask: set[int | signal.Signals]
) -> NoReturn:
    status = 1
    try:
        for number, disposition in dispositions.items():
            signal.signal(number, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        life()
        status = 0
    finally:
        os._exit(status)
