"""What a process gives back to the system: pages of files that have been read, freed memory."""

import ctypes
import mmap

import numpy as np

from refquant.tensor import QuantizedTensor

__all__ = ["forget_file_pages", "return_freed_memory"]


def forget_file_pages(tensor: QuantizedTensor) -> None:
    """Let the system take the pages of the mapped file that holds a tensor, if there is one.

    They are read again, from the system's own copy as a rule, when somebody looks at them.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    for plane in tensor.planes.values():
        base: object = plane
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def return_freed_memory() -> None:
    """Ask the C library for what has been freed and kept; only glibc can be asked."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
