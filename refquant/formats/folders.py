"""Folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refquant.errors import UsageError

__all__ = ["atomic_folder"]


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write in, which becomes `path` when the block ends without error.

    On any exception it is removed. Raises UsageError where something is at `path` already.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise UsageError(f"cannot write {target}: it is there already; remove it first")
    made = Path(tempfile.mkdtemp(prefix=".refquant-", dir=target.parent))
    try:
        yield made
        made.chmod(0o755)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
