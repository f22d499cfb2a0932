"""Writing GGUF: tensors of ggml's types behind metadata that are given as bytes, as one file.

Offsets count from the start of the data, each a multiple of the alignment, gaps filled with zeros.
The file has the version that its metadata had, is little-endian, and appears whole or not at all.
"""

import math
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from refquant.driver import Scheme
from refquant.formats.gguf_pairs import Metadata
from refquant.formats.gguf_types import GGML_TYPES
from refquant.formats.lazy import is_readable
from refquant.formats.rq.atomic import atomic_file
from refquant.schemes import scheme as find_scheme

__all__ = ["GgufPart", "ggml_type_of", "write_gguf"]

HEADER: Final = struct.Struct("<4sIQQ")


@dataclass(frozen=True, slots=True)
class GgufPart:
    """A tensor to be written: ggml's number of its type, its shape, and what gives its bytes."""

    name: str
    ggml_type: int
    shape: tuple[int, ...]
    produce: Callable[[], NDArray[np.uint8]]

    @property
    def nbytes(self) -> int:
        """How many bytes `produce` gives."""
        kind = GGML_TYPES[self.ggml_type]
        return math.prod(self.shape) // kind.block_size * kind.block_bytes


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Metadata,
    parts: Sequence[GgufPart],
    progress: Callable[[str, int], None] | None = None,
) -> int:
    """Write a file, one tensor in memory at a time, and say how long it is.

    `progress` is called with each tensor's name and bytes once they are written.
    """
    with atomic_file(path) as file:
        file.write(HEADER.pack(b"GGUF", metadata.version, len(parts), metadata.count))
        file.write(metadata.pairs)
        file.write(_descriptions(parts, metadata.alignment))
        for part in parts:
            _pad(file, metadata.alignment)
            file.write(np.ascontiguousarray(part.produce()).data.cast("B"))
            if progress is not None:
                progress(part.name, part.nbytes)
        _pad(file, metadata.alignment)
        return file.tell()


def _descriptions(parts: Sequence[GgufPart], alignment: int) -> bytes:
    described, offset = [], 0
    for part in parts:
        spelled, axes = part.name.encode(), len(part.shape)
        described.append(struct.pack(f"<Q{len(spelled)}sI", len(spelled), spelled, axes))
        described.append(struct.pack(f"<{axes}Q", *reversed(part.shape)))
        described.append(struct.pack("<IQ", part.ggml_type, offset))
        offset += -(-part.nbytes // alignment) * alignment
    return b"".join(described)


def _pad(file: IO[bytes], alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def ggml_type_of(scheme: Scheme) -> int | None:
    """The number in ggml of the type that stores such planes as they are, if it has one."""
    return None if scheme.operators else _types().get(scheme.digest)


@cache
def _types() -> dict[str, int]:
    return {
        find_scheme(str(kind.scheme)).digest: number
        for number, kind in GGML_TYPES.items()
        if is_readable(kind.scheme, (1,))
    }
