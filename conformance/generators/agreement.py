"""The second oracle: nothing goes into a pack that plain Python does not compute too."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.oracle import ggml
from conformance.oracle import layout as oracle
from refquant.errors import ConformanceError
from refquant.layout import Digits, Layout
from refquant.layout.layout import aligned
from refquant.tensor import QuantizedTensor

__all__ = ["agree", "check_codes", "check_values", "scalar_codes"]

F32 = NDArray[np.float32]


def agree(found: Iterable[Any], expected: Iterable[Any], what: str) -> None:
    """ConformanceError at the first place where two lists of numbers differ; NaN equals NaN."""
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        same = one == other and str(one) == str(other)
        if not same and not (one != one and other != other):  # noqa: PLR0124 - NaN alone differs
            raise ConformanceError(
                f"{what}: the package has {one!r} at {place}, the scalar oracle {other!r}"
            )


def check_values(tensor: QuantizedTensor, values: F32, what: str) -> None:
    """The decoded values are those of the descriptor's plain interpreter.

    It reads the same declaration as the package. Where a decoder is written from the clauses alone,
    as for ggml's blocks, the values have to be its values too.
    """
    planes = {name: plane.tobytes() for name, plane in tensor.planes.items()}
    expected = oracle.values(tensor.layout.describe(), planes, tensor.shape)
    agree(values.ravel().tolist(), expected, what)
    family, _, name = tensor.scheme.name.partition("/")
    if family == "ggml" and name in ggml.DECODERS and tensor.axis == len(tensor.shape) - 1:
        size = tensor.scheme.planes["blocks"].bytes
        blocks = records_of(planes["blocks"], size)
        alone = [number for block in blocks for number in ggml.decode(name, block)]
        agree(values.ravel().tolist(), alone, f"{what}, by the clauses alone")


def records_of(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces of `size` bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


def scalar_codes(tensor: QuantizedTensor, name: str) -> list[int]:
    """The codes of one field in C order, read bit by bit."""
    layout, shape = tensor.layout, tensor.shape
    description = layout.describe()
    planes = {key: plane.tobytes() for key, plane in tensor.planes.items()}
    overs = aligned(layout.fields[name].over, shape)
    counts = [-(-n // over) for n, over in zip(shape, overs, strict=True)]
    return [
        oracle.field_code(
            description,
            name,
            planes,
            shape,
            tuple(p * over for p, over in zip(place, overs, strict=True)),
        )
        for place in product(*map(range, counts))
    ]


def check_codes(
    tensor: QuantizedTensor, codes: Mapping[str, NDArray[np.integer]], what: str
) -> None:
    """Every field's codes are read back bit by bit, and no other bit is set."""
    ones = 0
    for name, wanted in codes.items():
        found = scalar_codes(tensor, name)
        agree(found, wanted.ravel().tolist(), f"{what}, field {name}")
        bits = bits_of(tensor.layout, name)
        ones += sum((code & ((1 << bits) - 1)).bit_count() for code in found)
    digits = any(isinstance(f.element, Digits) for f in tensor.layout.fields.values())
    stored = sum(int.from_bytes(p.tobytes(), "little").bit_count() for p in tensor.planes.values())
    if not digits and set(codes) == set(tensor.layout.fields) and stored != ones:
        raise ConformanceError(f"{what}: {stored} bits are set in the planes, {ones} in the codes")


def bits_of(layout: Layout, name: str) -> int:
    """How many bits a code of a field has."""
    element: Any = layout.fields[name].element
    return 8 if isinstance(element, Digits) else int(element.bits)
