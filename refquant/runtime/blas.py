"""The threads of the BLAS that NumPy computes products with.

OpenBLAS, which NumPy's wheels carry, takes their number from the environment when it is loaded;
afterwards it is a C function away. Of another BLAS only the environment is known.
"""

import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["ONE_THREAD", "OneThread", "blas_threads", "limit_blas_threads"]


def blas_threads() -> int | None:
    """How many threads NumPy's OpenBLAS takes; None for another BLAS."""
    library = _library()
    return None if library is None else int(library.scipy_openblas_get_num_threads64_())


def limit_blas_threads(count: int) -> bool:
    """Let NumPy's OpenBLAS take so many threads from now on; False for another BLAS."""
    library = _library()
    if library is None:
        return False
    library.scipy_openblas_set_num_threads64_(count)
    return True


class OneThread:
    """BLAS with one thread, for as long as anybody needs that."""

    def __init__(self) -> None:
        self._users = 0
        self._former: int | None = None

    def take(self) -> None:
        """From now on one thread."""
        if not self._users:
            self._former = blas_threads()
            limit_blas_threads(1)
        self._users += 1

    def give_back(self) -> None:
        """As many threads as before, if nobody else needs one."""
        self._users -= 1
        if not self._users and self._former is not None:
            limit_blas_threads(self._former)


ONE_THREAD: Final = OneThread()


@cache
def _library() -> Any:
    """The copy of OpenBLAS that NumPy has loaded, or None."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        names = ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_")
        if all(hasattr(library, name) for name in names):
            return library
    return None


def _candidates() -> Iterator[Path]:
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        yield from sorted(folder.glob("*openblas*"))
