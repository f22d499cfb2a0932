"""The planes that a plan produces, checked against it before they are written."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from refquant.errors import FormatError, UsageError
from refquant.formats.rq.plan import Buffer, PlannedTensor
from refquant.formats.rq.stored_codes import checked_codes

__all__ = ["produced_planes"]

_REMEDY: Final = (
    "; its weights are right, but bytes that stand for none are kept by nobody: quantize it again "
    "from what it decodes to"
)


def produced_planes(tensor: PlannedTensor) -> Iterator[tuple[str, int, Iterator[memoryview]]]:
    """Each plane in the order of names: its name, its size, and its bytes in pieces.

    The pieces must be taken before the next plane is. Raises UsageError for planes other than
    the layout's, for another number of bytes, and for codes that no reader would accept.
    """
    planes = tensor.produce()
    if planes.keys() != tensor.layout.planes.keys():
        raise UsageError(
            f"writing {tensor.name!r}: planes {sorted(planes)} were produced, "
            f"expected {sorted(tensor.layout.planes)}"
        )
    for plane in sorted(planes):
        size = tensor.layout.plane_nbytes(plane, tensor.shape)
        yield plane, size, _checked(tensor, plane, size, planes[plane])


def _checked(
    tensor: PlannedTensor, plane: str, size: int, produced: Buffer | Iterable[Buffer]
) -> Iterator[memoryview]:
    if isinstance(produced, bytes | bytearray | memoryview | np.ndarray):
        produced = [produced]
    counted = _counted(tensor, plane, size, produced)
    pieces = checked_codes(tensor.layout, plane, tensor.shape, counted, f"plane {plane!r}")
    try:
        for piece in pieces:
            yield memoryview(piece)
    except FormatError as error:
        # A damaged source says so itself; codes that were just made are the caller's mistake.
        if error.path:
            raise
        remedy = _REMEDY if error.code == "E_CODE_EDGE" else ""
        raise UsageError(f"writing {tensor.name!r}: {error}{remedy}") from error


def _counted(
    tensor: PlannedTensor, plane: str, size: int, buffers: Iterable[Buffer]
) -> Iterator[memoryview]:
    found = 0
    for buffer in buffers:
        data = _flat(buffer, tensor.name, plane)
        found += len(data)
        if found <= size:
            yield data
    if found != size:
        raise UsageError(
            f"writing {tensor.name!r}: plane {plane!r} has {found} bytes, "
            f"expected {size} for shape {list(tensor.shape)}"
        )


def _flat(buffer: Buffer, tensor: str, plane: str) -> memoryview:
    if isinstance(buffer, np.ndarray):
        if buffer.dtype != np.uint8:
            raise UsageError(
                f"writing {tensor!r}: plane {plane!r} is {buffer.dtype}, expected uint8"
            )
        return np.ascontiguousarray(buffer).reshape(-1).data
    return memoryview(buffer).cast("B")
