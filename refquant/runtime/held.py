"""What a model holds in memory for its weights."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from math import prod

import numpy as np

from refquant.runtime.model import Model
from refquant.runtime.packed import PackedMatrix
from refquant.runtime.scratch import Scratch
from refquant.tensor import QuantizedTensor

__all__ = ["Size", "held"]


@dataclass(frozen=True, slots=True)
class Size:
    """What a token's computation reads: bytes as they are held, and weights of matrices."""

    nbytes: int = 0
    weights: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.nbytes + other.nbytes, self.weights + other.weights)


def held(model: Model) -> Size:
    """What the model's parts hold, but for tables of which a token reads one row."""
    network = model.network
    parts = [getattr(network, name) for name in _names(network) - {"embedding", "positions"}]
    return sum(_sizes(parts, set()), Size())


def _names(record: object) -> set[str]:
    if not is_dataclass(record):
        return set()
    return {field.name for field in fields(record)}


def _sizes(value: object, seen: set[int]) -> Iterator[Size]:
    """Sizes of every array below; what is shared counts once."""
    if id(value) in seen or isinstance(value, Scratch | str | int | float):
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield Size(value.nbytes, value.size if value.ndim == 2 else 0)
    elif isinstance(value, QuantizedTensor):
        yield Size(value.nbytes)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _sizes(one, seen)
    elif is_dataclass(value):
        inner = (one for name in _names(value) for one in _sizes(getattr(value, name), seen))
        if isinstance(value, PackedMatrix) or hasattr(value, "product"):
            nbytes = sum(one.nbytes for one in inner)
            yield Size(nbytes, prod(getattr(value, "shape", (0,))))
        else:
            yield from inner
