"""Writing safetensors: a JSON header of types, shapes and byte ranges, then the bytes.

Tensors stand in the given order, one after the other, behind a header padded with spaces to a
multiple of eight. The file appears whole or not at all.
"""

import json
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from refquant.formats.rq.atomic import atomic_file
from refquant.formats.safetensors import DTYPE_BITS

__all__ = ["SafetensorsPart", "write_safetensors"]


@dataclass(frozen=True, slots=True)
class SafetensorsPart:
    """A tensor to be written: the format's name of its type, its shape, what gives its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    produce: Callable[[], NDArray[np.uint8]]

    @property
    def nbytes(self) -> int:
        """How many bytes `produce` gives."""
        return prod(self.shape) * DTYPE_BITS[self.dtype] // 8


def write_safetensors(path: str | os.PathLike[str], parts: Sequence[SafetensorsPart]) -> int:
    """Write a file, one tensor in memory at a time, and say how long it is."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for part in parts:
        start, end = end, end + part.nbytes
        header[part.name] = {
            "dtype": part.dtype,
            "shape": list(part.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            file.write(np.ascontiguousarray(part.produce()).data.cast("B"))
        return file.tell()
