"""The layout of a scheme: its planes, fields, tables and value formula, checked and measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from fractions import Fraction
from functools import cached_property, lru_cache
from hashlib import sha256
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from refquant import mp1
from refquant.errors import SchemeError
from refquant.layout.declare import Digits, Element, Field, Minifloat, Plane, Signed, Unsigned
from refquant.layout.describe import describe, parse
from refquant.layout.expression import Expression
from refquant.layout.places import claimed_bits
from refquant.layout.rules import check

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """How the bytes of a quantized tensor become numbers, whatever chose the bytes.

    `planes` and `fields` are named; `tables` hold the binary32 values that `lut` looks up;
    `value` is the formula. Construction checks every rule of spec/05-descriptors.md and raises
    `FormatError` with the rule's code.
    """

    planes: Mapping[str, Plane]
    fields: Mapping[str, Field]
    value: Expression
    tables: Mapping[str, NDArray[np.float32]] = dataclass_field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("planes", "fields"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "tables", MappingProxyType(_frozen(self.tables)))
        parse(self.describe(), "$")
        check(self.planes, self.fields, self.tables, self.value, where="$")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash((frozenset(self.planes.items()), self.value))

    def describe(self) -> dict[str, object]:
        """The layout as plain data, which an `.rq` file stores in its header."""
        return describe(self.planes, self.fields, self.tables, self.value)

    @classmethod
    def parse(cls, description: object, where: str = "$") -> "Layout":
        """The layout that `description` declares; `FormatError` with an E_DESC code if none."""
        return cls(*parse(description, where))

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes: equal for layouts of equal meaning."""
        return sha256(mp1.encode(self.describe())).hexdigest()

    @cached_property
    def active_axes(self) -> int:
        """How many of the tensor's last axes the layout treats together."""
        return max(len(plane.block) for plane in self.planes.values())

    def grid(self, plane: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Records along each axis of a tensor of `shape`, in the order in which they are stored."""
        declared = self.planes[plane]
        blocks = aligned(declared.block, shape)
        counts = tuple(-(-n // b) for n, b in zip(shape, blocks, strict=True))
        if declared.order is None:
            return counts
        fixed = len(shape) - len(declared.order)
        if fixed < 0:
            raise SchemeError(f"plane {plane!r} orders more axes than shape {list(shape)} has")
        return counts[:fixed] + tuple(counts[fixed + axis] for axis in declared.order)

    def plane_nbytes(self, plane: str, shape: tuple[int, ...]) -> int:
        """Bytes of one plane for a tensor of `shape`."""
        return prod(self.grid(plane, shape)) * self.planes[plane].bytes

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of all planes for a tensor of `shape`."""
        return sum(self.plane_nbytes(name, shape) for name in self.planes)

    def bits_per_weight(self, shape: tuple[int, ...]) -> Fraction:
        """All stored bits over all weights."""
        return Fraction(8 * self.nbytes(shape), prod(shape))

    def along(self, axis: int, rank: int) -> "Layout":
        """The same layout with its blocks running along `axis` of tensors of `rank` axes.

        Only blocks along one axis can be turned; a whole tensor is the same along any of them.
        """
        trailing = rank - 1 - axis % rank
        if not trailing:
            return self

        def turned(extents: tuple[int, ...], plane: Plane) -> tuple[int, ...]:
            if plane.block == (1,):
                return extents
            if len(extents) == 1:
                return extents + (1,) * trailing
            if any(extents):
                raise SchemeError(f"blocks of {list(extents)} weights cannot turn to axis {axis}")
            return extents

        return Layout(
            {n: replace(p, block=turned(p.block, p)) for n, p in self.planes.items()},
            {
                n: replace(f, over=turned(f.over, self.planes[f.plane]))
                for n, f in self.fields.items()
            },
            self.value,
            self.tables,
        )

    def spare_bits(self, plane: str) -> NDArray[np.uint8]:
        """Mask over one record's bytes of the bits that no field claims, which must be zero."""
        fields = [field for field in self.fields.values() if field.plane == plane]
        claimed = claimed_bits(fields, self.planes[plane].bytes)
        return np.packbits(claimed == 0, bitorder="little")


def _frozen(tables: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Copies of the tables in binary32 that nobody can write to."""
    copies = {name: np.array(table, np.float32) for name, table in tables.items()}
    for copy in copies.values():
        copy.flags.writeable = False
    return copies


@lru_cache(maxsize=4096)
def aligned(extents: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """`extents` with one number for each axis of `shape`: 1 where none is given, n for 0.

    Whole-axis extents may outnumber the axes, so that eight zeros mean any whole tensor.
    """
    surplus = max(len(extents) - len(shape), 0)
    if any(extents[:surplus]):
        raise SchemeError(f"blocks of {list(extents)} weights do not fit shape {list(shape)}")
    padded = (1,) * (len(shape) - len(extents)) + extents[surplus:]
    return tuple(e or n for e, n in zip(padded, shape, strict=True))


def code_bits(element: Element) -> int:
    """Width of an unpacked code: of the number itself, not of the byte its digits share."""
    match element:
        case Unsigned(bits) | Signed(bits):
            return bits
        case Minifloat():
            return element.bits
        case Digits(base):
            return (base - 1).bit_length()
