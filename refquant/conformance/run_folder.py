"""The folder of a run, in memory where that is possible, and what killed runs left of theirs."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from refquant.conformance.exchange import folder_in_memory

if os.name == "posix":
    import fcntl

__all__ = ["run_folder"]

PREFIX = "refquant-conformance-"
JUST_MADE = 60.0
"""Seconds for which a folder may be without a lock, as its run has only just made it."""


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder of this run alone, locked as long as it runs, and removed at its end."""
    place = folder_in_memory() or tempfile.gettempdir()
    _remove_abandoned(place)
    # An engine may have put anything in the folder's place: a report is worth more than a clean-up.
    made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place, ignore_cleanup_errors=True)
    with made as folder, ExitStack() as held:
        with suppress(OSError):  # where nothing can be locked, nothing is taken for abandoned
            held.enter_context(_locked(folder))
        yield Path(folder)


def _remove_abandoned(place: str) -> None:
    """Remove the folders of killed runs: old ones of this user that no process has locked."""
    if os.name != "posix":
        return
    for path in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):
            state = path.lstat()
            if state.st_uid == os.getuid() and time.time() - state.st_ctime > JUST_MADE:
                with _locked(path):
                    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: str | Path) -> Iterator[None]:
    """The lock of a folder, which ends with the process that holds it; OSError if another does."""
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
