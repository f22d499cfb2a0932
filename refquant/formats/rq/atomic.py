"""Files that appear whole or not at all, whatever interrupts their writing.

The bytes go to a temporary file in the same directory, which replaces the target in one step once
it is complete and on the disk. A writer that is killed leaves its temporary file behind; it is
known by its name and by having lost its lock, and the next writer in the directory removes it. If
it was a journal, the shards that it names without use go too.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from refquant.errors import UsageError
from refquant.formats.rq.journal import is_journal, undo

if sys.platform != "win32":
    import fcntl

__all__ = [
    "atomic_file",
    "check_target",
    "lock",
    "locked_file",
    "named_later",
    "remove_abandoned",
    "sync_directory",
]

_TEMPORARY: Final = re.compile(r"\.refquant-[0-9a-f]{32}\.partial")
_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file to write and seek in, which becomes `path` when the block ends without error.

    On any exception the temporary file is removed and what stood at `path` is as it was. A
    symbolic link at `path` is itself replaced. Raises UsageError if no file can be created there,
    or what stands there is not a file: a directory, a device, a pipe.
    """
    target = Path(path)
    check_target(target)
    remove_abandoned(target.parent)
    with named_later(target, lambda: target) as file:
        yield file


def check_target(target: Path) -> None:
    """Refuse to replace what is not a file."""
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {target}: what stands there is not a regular file")


@contextmanager
def named_later(target: Path, destination: Callable[[], Path]) -> Iterator[IO[bytes]]:
    """A new file beside `target`; when its block ends it is on the disk, and gets its name.

    `destination` is asked for that name then.
    """
    with locked_file(target) as (file, temporary):
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            place = destination()
            if sys.platform == "win32":
                file.close()
            # Elsewhere the file is renamed while open, for its lock keeps it from other writers.
            temporary.replace(place)
        except BaseException:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                temporary.unlink()
            raise
    sync_directory(target.parent)


@contextmanager
def locked_file(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new temporary file beside `target`, locked while the block runs, and where it is."""
    temporary, descriptor = _create(target)
    file = os.fdopen(descriptor, "w+b")
    try:
        yield file, temporary
    finally:
        # What matters has been flushed by now; the rest of a failed write may fail again.
        with suppress(OSError):
            file.close()


def _create(target: Path) -> tuple[Path, int]:
    """A new, locked file of an unused name beside `target`."""
    while True:
        temporary = target.parent / f".refquant-{secrets.token_hex(16)}.partial"
        try:
            descriptor = os.open(temporary, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"cannot write {target}: {reason}") from error
        # Between creation and locking another writer may have taken the file for abandoned.
        if lock(descriptor) is not False and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)
        with suppress(OSError):
            temporary.unlink()


def lock(descriptor: int) -> bool | None:
    """Whether this process now holds the file's lock; None where files cannot be locked."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove_abandoned(directory: str | os.PathLike[str]) -> None:
    """Remove the temporary files in `directory` whose writers are dead.

    A living writer holds its file's lock, or on Windows has it open, which forbids removal.
    Where files cannot be locked they are left alone.
    """
    with suppress(OSError), os.scandir(directory) as found:
        for entry in found:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    if sys.platform == "win32":
        # Before it is read, renamed: an open file of a living writer refuses that.
        taken = f"{path}.taken"
        Path(path).rename(taken)
        if is_journal(taken):
            undo(taken)
        Path(taken).unlink()
        return
    descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if lock(descriptor):
            if is_journal(path):
                undo(path)
            Path(path).unlink()
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Put the new name on the disk, where directories can be synchronised."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
