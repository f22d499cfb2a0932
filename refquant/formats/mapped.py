"""The bytes of a file as one read-only array, mapped into memory unless asked otherwise."""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError

__all__ = ["let_go", "map_file", "mapping_behind", "shown"]


def map_file(path: str | os.PathLike[str], *, use_mmap: bool = True) -> NDArray[np.uint8]:
    """All bytes of a file, read-only; a mapping touches the disk only where it is looked at.

    The mapping lives as long as the array or a view of it. Whoever truncates the file meanwhile
    breaks it, as with every mapping: `use_mmap=False` takes a copy into memory instead. A path
    that cannot be opened is a UsageError.
    """
    try:
        with Path(path).open("rb") as file:
            if not use_mmap or os.fstat(file.fileno()).st_size == 0:
                return np.frombuffer(file.read(), dtype=np.uint8)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.frombuffer(mapped, dtype=np.uint8)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot open {os.fspath(path)}: {reason}") from error


def let_go(part: NDArray[np.uint8]) -> None:
    """Give the memory of a mapped part back to the system, which reads it again if it is asked for.

    Pages of a mapping count as a process's own from their first touch on; who goes through a large
    file once lets go of what is behind. Arrays that are no part of a mapping are left alone.
    """
    mapped = mapping_behind(part)
    if mapped is None:
        return
    first = part.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    start = first // mmap.PAGESIZE * mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, start, first + part.nbytes - start)


def mapping_behind(array: NDArray[np.uint8]) -> mmap.mmap | None:
    """The mapping that an array is a view of; None if there is none, or none that takes advice."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None


def shown(name: str) -> str:
    """A name out of a file as it may be printed: control characters escaped, never too long."""
    visible = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return visible if len(visible) <= 100 else f"{visible[:97]}..."
