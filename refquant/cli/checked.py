"""The check of a file's texts, beside the loading of its weights."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refquant.formats import Checkpoint

__all__ = ["checked_meanwhile"]

LONG_TEXT = 1 << 18
"""Bytes of a tokenizer that are worth a process."""


@contextmanager
def checked_meanwhile(checkpoint: "Checkpoint") -> Iterator[None]:
    """`check_runnable`, done when the `with` ends, or before an error out of it.

    A long tokenizer is checked by another process, where there is a processor for it; what that
    one finds wrong is checked again here, for the error.
    """
    from refquant.formats.rq import check_runnable
    from refquant.runtime.workers import usable_processors, why_alone

    spec = checkpoint.tokenizer
    if spec is None or len(spec.json) < LONG_TEXT or why_alone() or usable_processors() < 2:
        check_runnable(checkpoint)
        yield
        return
    child, has_failed = _start(checkpoint), True
    try:
        try:
            yield
        finally:
            has_failed = os.waitpid(child, 0)[1] != 0
    except Exception:
        if has_failed:
            check_runnable(checkpoint)
        raise
    if has_failed:
        check_runnable(checkpoint)


def _start(checkpoint: "Checkpoint") -> int:
    from refquant.formats.rq import check_runnable
    from refquant.runtime.forked import fork

    return fork(lambda: check_runnable(checkpoint), {signal.SIGINT: signal.SIG_DFL})
