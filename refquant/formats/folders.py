"""Folders that appear whole or not at all, whatever interrupts their writing.

A writer that is killed leaves its unfinished folder behind; it is known by its name and by having
lost its lock, and the next writer beside it removes it.
"""

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from refquant.errors import UsageError
from refquant.formats.rq.atomic import lock

__all__ = ["atomic_folder"]

_TEMPORARY: Final = re.compile(r"\.refquant-[0-9a-f]{32}\.folder")


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write in, which becomes `path` when the block ends without error.

    On any exception it is removed. Raises UsageError where something is at `path` already.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise UsageError(f"cannot write {target}: it is there already; remove it first")
    _remove_abandoned(target.parent)
    with _new_folder(target.parent) as made:
        try:
            yield made
            made.chmod(0o755)
            made.rename(target)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise


@contextmanager
def _new_folder(parent: Path) -> Iterator[Path]:
    """A new folder of an unused name, locked while the block runs."""
    while True:
        made = parent / f".refquant-{secrets.token_hex(16)}.folder"
        made.mkdir(0o700)
        with _locked(made) as is_mine:
            # Between creation and locking another writer may have taken it for abandoned.
            if is_mine is not False and made.exists():
                yield made
                return


@contextmanager
def _locked(folder: Path) -> Iterator[bool | None]:
    """Whether this process holds the folder's lock in the block; None where there are none."""
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    """Remove the unfinished folders whose writers are dead."""
    with suppress(OSError), os.scandir(parent) as found:
        for entry in found:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError), _locked(Path(entry.path)) as is_abandoned:
                    if is_abandoned:
                        shutil.rmtree(entry.path)
