"""Asking an implementation by others: a process of its environment that answers many requests."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ask", "answering"]

WORKERS = Path(__file__).parent / "differential" / "workers"
Ask = Callable[..., dict[str, NDArray[np.generic]]]


@contextmanager
def answering(python: Path, worker: str, folder: Path, *first: str) -> Iterator[Ask]:
    """`ask(x=..., names=[...])` sends arrays to a worker and returns those that it answers with.

    `first` are arguments of the worker before the names of its two files.
    """
    command, pipe = [python, WORKERS / "serve.py", WORKERS / worker], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

        def ask(**request):
            asked, answered = folder / "request.npz", folder / "answer.npz"
            np.savez(asked, **request)
            process.stdin.write("\t".join([*first, str(asked), str(answered)]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline().rstrip("\n")
            assert answer == "written", f"{worker}: {answer or 'has ended; see its messages'}"
            with np.load(answered) as found:
                return dict(found)

        yield ask
        process.stdin.close()
