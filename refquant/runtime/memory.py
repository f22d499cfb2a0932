"""What a process gives back to the system: pages of files that have been read, freed memory."""

import ctypes
import mmap

from refquant.formats.mapped import mapping_behind
from refquant.tensor import QuantizedTensor

__all__ = ["forget_file_pages", "return_freed_memory"]


def forget_file_pages(tensor: QuantizedTensor) -> None:
    """Let the system take the pages of the mapped file that holds a tensor, if there is one.

    They are read again, from the system's own copy as a rule, when somebody looks at them.
    """
    for plane in tensor.planes.values():
        mapped = mapping_behind(plane)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def return_freed_memory() -> None:
    """Ask the C library for what has been freed and kept; only glibc can be asked."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
