"""Wrong readings of what stands between planes and layout, and of vectors of codebooks."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refquant.schemes.level2 import Gathered, WordRows
from refquant.tensor import QuantizedTensor
from refquant.testing.reading import Reading, Suspect

__all__ = ["wrong_operators", "wrong_vectors"]

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]


def wrong_operators(tensor: QuantizedTensor) -> Iterator[Suspect]:
    """An index passed over, sorted or turned around; rows of words taken as whole records."""
    for operator in tensor.scheme.operators:
        if isinstance(operator, Gathered):
            name = operator.index
            index = np.ascontiguousarray(tensor.planes[name]).view("<i4").reshape(-1)
            runs = np.arange(index.size) // (operator.group or index.size)
            groups = int(runs[-1])
            words = f"{name} is passed over: groups are read as runs of inputs"
            yield words, _with_plane(tensor, name, _as_bytes(runs))
            yield f"{name} is sorted first", _with_plane(tensor, name, _as_bytes(np.sort(index)))
            turned = _as_bytes(groups - index)
            yield f"{name} counts groups from the last", _with_plane(tensor, name, turned)
        if isinstance(operator, WordRows):
            plane = tensor.planes[operator.plane]
            rows, columns, size = plane.shape
            together = plane.reshape(rows // operator.words, columns, operator.words, size)
            words = f"words of {operator.plane} in rows of their own are read as lying together"
            yield words, _with_plane(tensor, operator.plane, together.transpose(0, 2, 1, 3))


def wrong_vectors(right: Reading) -> Iterator[Suspect]:
    """Vectors of a codebook read from the last number to the first."""
    for name, table in right.tables.items():
        for field in right.layout.fields.values():
            if field.over[-1] > 1 and len(table) == field.over[-1] << field.element.bits:
                backwards = table.reshape(-1, field.over[-1])[:, ::-1].reshape(-1)
                changed = replace(right, tables={**right.tables, name: backwards})
                yield f"vectors of {name} are read from last to first", changed.values


def _as_bytes(index: NDArray[np.integer]) -> Bytes:
    return index.astype("<i4").view(np.uint8).reshape(-1, 4)


def _with_plane(tensor: QuantizedTensor, name: str, plane: Bytes) -> Callable[[], F32]:
    planes = {**tensor.planes, name: np.ascontiguousarray(plane)}
    return QuantizedTensor(tensor.scheme, tensor.shape, planes).dequantize
