"""Tensors that are built from a file's bytes when somebody first asks for one."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnknownSchemeError, UnsupportedError, UsageError
from refquant.formats.mapped import shown
from refquant.schemes import scheme
from refquant.tensor import QuantizedTensor

__all__ = ["LazyTensors", "is_readable", "tensor_over"]


class LazyTensors(Mapping[str, QuantizedTensor]):
    """Names to tensors, in the order of the file; each is built once, on first touch.

    `builders` maps a name to the function that makes its tensor, or raises why it cannot.
    """

    def __init__(self, builders: Mapping[str, Callable[[], QuantizedTensor]]) -> None:
        self._builders = dict(builders)
        self._built: dict[str, QuantizedTensor] = {}

    def __getitem__(self, name: str) -> QuantizedTensor:
        if name not in self._built:
            self._built[name] = self._builders[name]()
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._builders

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)

    def __repr__(self) -> str:
        return f"<{len(self)} tensors, {len(self._built)} built>"


def is_readable(scheme_name: str | None, shape: tuple[int, ...]) -> bool:
    """True if a scheme of this installation has that name and the tensor has elements."""
    if scheme_name is None or 0 in shape:
        return False
    try:
        scheme(scheme_name)
    except (UnknownSchemeError, UnsupportedError):
        return False
    return True


def tensor_over(
    name: str,
    type_name: str,
    scheme_name: str | None,
    shape: tuple[int, ...],
    data: NDArray[np.uint8],
) -> QuantizedTensor:
    """A tensor over bytes as they lie in a foreign file, all in its scheme's one plane.

    `type_name` is what the file calls the type. A tensor without axes becomes one of one element.
    UnsupportedError if no scheme of this version stands for the type, or if there are no elements.
    """
    what = f"tensor {shown(name)}"
    try:
        found = scheme(scheme_name or "")
    except UsageError as error:
        raise UnsupportedError(
            f"{what} has the type {type_name}, which no scheme of this version reads "
            "(`refquant schemes` lists them)"
        ) from error
    if 0 in shape:
        raise UnsupportedError(f"{what} has no elements: its shape is {list(shape)}")
    (plane,) = found.planes
    return QuantizedTensor.from_planes(found, shape or (1,), {plane: data})
