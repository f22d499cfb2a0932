"""The bytes of a file as one read-only array, mapped into memory unless asked otherwise."""

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError

__all__ = ["map_file", "shown"]


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


def shown(name: str) -> str:
    """A name out of a file as it may be printed: control characters escaped, never too long."""
    visible = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return visible if len(visible) <= 100 else f"{visible[:97]}..."
