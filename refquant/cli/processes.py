"""How many processes a command computes with."""

import os
import platform
import sys
from math import prod
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from refquant.formats import Checkpoint

__all__ = ["Workers", "choose_workers", "one_thread_each"]

Workers = Annotated[
    int | None,
    Parameter(
        help="Processes that share the work, with the same results for any number. [default: one "
        "for each processor, at most 8; 1 for a small model]"
    ),
]

_MOST = 8
_SMALL = 1 << 24
"""Weights of a model that one process computes before another has heard of it."""


def one_thread_each() -> None:
    """Let BLAS, not loaded yet, start without threads where processes take their place."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def choose_workers(asked: int | None, checkpoint: "Checkpoint") -> int | None:
    """The number that was asked for, or a sensible one; None where there can be no workers.

    There one process computes with the threads that BLAS takes; a note says so if several were
    asked for.
    """
    from refquant.architectures import family_named
    from refquant.runtime.workers import usable_processors, why_alone

    reason = why_alone()
    if reason:
        if asked is not None and asked > 1:
            print(f"refquant: --workers {asked}: {reason}; one computes", file=sys.stderr)
        return None if asked is None or asked > 1 else asked
    if asked is not None:
        return asked
    architecture = checkpoint.architecture
    if architecture is None:
        return 1
    shapes = family_named(architecture.family).tensors(architecture.fields).values()
    is_small = sum(map(prod, shapes)) < _SMALL
    return 1 if is_small else min(usable_processors(), _MOST)
