"""What a file says of a tensor whose scheme has operators: its layout, and what stands before it.

    {..., "ops": {"gather": {"index": plane, "planes": [plane]}}}
    {..., "ops": {"view": ["flat"]}}
    {..., "ops": {"view": ["parts", group, axis, parts]}}
    {..., "ops": {"words": {plane: words}}}

A description without `ops` is an ordinary layout. `gather` and `words` may stand together, `view`
stands alone. What they mean is said in chapter 5 of the specification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from math import prod
from types import MappingProxyType
from typing import Final, NoReturn

from refquant import mp1
from refquant.driver import Scheme
from refquant.errors import FormatError
from refquant.layout import Field, Layout, Plane
from refquant.layout.expression import lookups
from refquant.layout.operators import Operator, stored_shapes
from refquant.schemes.interleaved import Interleaved
from refquant.schemes.level2 import Flattened, Gathered, WordRows

__all__ = ["AnyLayout", "StoredLayout", "inner_shape", "layout_of", "parse_layout", "stored_layout"]

MOST_PARTS: Final = 64
MOST_WORDS: Final = 64
MOST_GATHERED_BYTES: Final = 16
"""Bytes of a gathered record: it is repeated for each input when a tensor is decoded."""

MOST_GROUP: Final = 1 << 40

_INDEX: Final = Plane((1,), 4)
_KEY: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, eq=False)
class StoredLayout:
    """A layout and the operators between it and the stored planes, the outermost first."""

    inner: Layout
    operators: tuple[Operator, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredLayout) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Fields of the layout."""
        return self.inner.fields

    @cached_property
    def index(self) -> str | None:
        """The plane that names the group of each input, if there is one."""
        found = (one.index for one in self.operators if isinstance(one, Gathered))
        return next(found, None)

    @cached_property
    def planes(self) -> Mapping[str, Plane]:
        """The stored planes; the index, which is none of the layout's, has a record an input."""
        more = {} if self.index is None else {self.index: _INDEX}
        return MappingProxyType({**self.inner.planes, **more})

    def describe(self) -> dict[str, object]:
        """Plain data, as it stands in a file."""
        return self.inner.describe() | {"ops": _describe(self.operators)}

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical bytes."""
        return sha256(mp1.encode(self.describe())).hexdigest()

    def inner_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the layout speaks of."""
        for operator in self.operators:
            shape = operator.inner_shape(shape)
        return shape

    def stored(self, plane: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a stored plane, bytes of a record last."""
        if plane == self.index:
            return (shape[-1], 4)
        # Of this plane alone: another one that does not fit the shape has its own turn.
        grid = self.inner.grid(plane, self.inner_shape(shape))
        found: dict[str, tuple[int, ...]] = {plane: (*grid, self.inner.planes[plane].bytes)}
        for operator in reversed(self.operators):
            found = operator.stored(self.inner, shape, found)
        return found[plane]

    def plane_nbytes(self, plane: str, shape: tuple[int, ...]) -> int:
        """Bytes of one plane for a tensor of `shape`."""
        return prod(self.stored(plane, shape))

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of all planes for a tensor of `shape`."""
        shapes = stored_shapes(self.inner, self.operators, shape).values()
        return sum(map(prod, shapes))  # exact: integers

    def bits_per_weight(self, shape: tuple[int, ...]) -> Fraction:
        """All stored bits over all weights."""
        return Fraction(8 * self.nbytes(shape), prod(shape))


AnyLayout = Layout | StoredLayout


def stored_layout(layout: Layout, operators: tuple[Operator, ...]) -> AnyLayout:
    """The layout itself where nothing stands before it."""
    return StoredLayout(layout, operators) if operators else layout


def layout_of(scheme: Scheme) -> AnyLayout:
    """All that a file has to say of a scheme, for tensors whose groups run along the last axis."""
    return stored_layout(scheme.layout, scheme.operators)


def inner_shape(layout: AnyLayout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a layout's planes are of, for a tensor of `shape`."""
    return layout.inner_shape(shape) if isinstance(layout, StoredLayout) else shape


def parse_layout(description: object, where: str = "$") -> AnyLayout:
    """The layout that plain data describe; FormatError with the code of the first broken rule."""
    if not isinstance(description, dict) or "ops" not in description:
        return Layout.parse(description, where)
    plain = {key: value for key, value in description.items() if key != "ops"}
    layout = Layout.parse(plain, where)
    return StoredLayout(layout, _Parser(layout, f"{where}.ops").operators(description["ops"]))


def _describe(operators: tuple[Operator, ...]) -> dict[str, object]:
    ops: dict[str, object] = {}
    split: dict[str, int] = {}
    for operator in operators:
        match operator:
            case Flattened():
                ops["view"] = ["flat"]
            case Interleaved(group, axis, parts):
                ops["view"] = ["parts", group, axis, parts]
            case WordRows(plane, words):
                split[plane] = words
                ops["words"] = split
            case Gathered(index, parameters):
                ops["gather"] = {"index": index, "planes": sorted(parameters)}
            case _:
                raise TypeError(f"{type(operator).__name__} has no description")
    return ops


class _Parser:
    """Reads `ops` for one layout, of which everything else has been checked."""

    def __init__(self, layout: Layout, where: str) -> None:
        self.layout = layout
        self.where = where

    def fail(self, code: str, message: str) -> NoReturn:
        raise FormatError(code, message, where=self.where)

    def operators(self, value: object) -> tuple[Operator, ...]:
        found = self.map(value)
        if not found:
            self.fail("E_SCHEMA_EMPTY", "an empty map here must be left out")
        if unknown := found.keys() - {"gather", "view", "words"}:
            self.fail("E_DESC_OPS", f"unknown operator {min(unknown)!r}")
        if "view" in found and len(found) > 1:
            self.fail("E_DESC_OPS", "a view stands alone")
        if "view" in found:
            return (self.view(found["view"]),)
        words = self.words(found["words"]) if "words" in found else ()
        return (*words, *((self.gather(found["gather"]),) if "gather" in found else ()))

    def map(self, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            self.fail("E_SCHEMA_TYPE", f"found {type(value).__name__}, expected a map")
        return value

    def view(self, value: object) -> Operator:
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            self.fail("E_SCHEMA_TYPE", "a view is an array that begins with its name")
        name, *numbers = value
        if any(type(number) is not int for number in numbers):
            self.fail("E_SCHEMA_TYPE", "expected integers after a view's name")
        if name == "flat" and not numbers:
            return Flattened(max(self.layout.planes[p].block[-1] for p in self.layout.planes) or 1)
        if name != "parts" or len(numbers) != 3:
            self.fail("E_DESC_OPS", f"unknown view {value!r}")
        group, axis, parts = numbers
        if not (1 <= group <= MOST_GROUP and axis in (0, 1) and 2 <= parts <= MOST_PARTS):
            self.fail("E_DESC_OPS", f"{value!r}: a number is out of range")
        return Interleaved(group, axis, parts)

    def words(self, value: object) -> tuple[Operator, ...]:
        listed = self.map(value)
        if not listed:
            self.fail("E_SCHEMA_EMPTY", "an empty map here must be left out")
        found: list[Operator] = []
        for plane, words in listed.items():
            if type(words) is not int:
                self.fail("E_SCHEMA_TYPE", f"words of {plane!r}: expected an integer")
            declared = self.layout.planes.get(plane)
            if declared is None or not 2 <= words <= MOST_WORDS or declared.bytes % words:
                self.fail("E_DESC_OPS", f"plane {plane!r} has no records of {words} words")
            found.append(WordRows(plane, words))
        return tuple(found)

    def gather(self, value: object) -> Operator:
        found = self.map(value)
        if found.keys() != {"index", "planes"}:
            missing = {"index", "planes"} - found.keys()
            code = "E_SCHEMA_MISSING" if missing else "E_SCHEMA_UNKNOWN"
            self.fail(code, f"keys {sorted(found)}, expected 'index' and 'planes'")
        index, planes = found["index"], found["planes"]
        if not isinstance(index, str) or not isinstance(planes, list):
            self.fail("E_SCHEMA_TYPE", "expected a plane's name and an array of such")
        names = [name for name in planes if isinstance(name, str)]
        if len(names) != len(planes):
            self.fail("E_SCHEMA_TYPE", "expected an array of planes' names")
        if not _KEY.fullmatch(index) or index in self.layout.planes:
            self.fail("E_DESC_OPS", f"the index cannot be called {index[:80]!r}")
        if not names or names != sorted(set(names)) or set(names) - self.layout.planes.keys():
            self.fail("E_DESC_OPS", f"{names!r} are no planes in increasing order")
        for name in names:
            self.gathered(name)
        return Gathered(index, tuple(names), "", 0)

    def gathered(self, name: str) -> None:
        """A gathered record is small, and each of its codes for all of its inputs."""
        plane = self.layout.planes[name]
        if plane.bytes > MOST_GATHERED_BYTES:
            self.fail("E_DESC_OPS", f"plane {name!r} has records of {plane.bytes} bytes")
        for key, field in self.layout.fields.items():
            if field.plane == name and field.over[-1] != plane.block[-1]:
                self.fail(
                    "E_DESC_OPS", f"field {key!r} has several codes for the inputs of a group"
                )
            if field.plane == name and self.is_vector(key):
                self.fail("E_DESC_OPS", f"field {key!r} looks up numbers by place")

    def is_vector(self, key: str) -> bool:
        """Whether a field's codes look up one number for each of the weights that share them."""
        return any(
            self.layout.tables[table].size > 1 << self.layout.fields[key].element.bits
            for table, field in lookups(self.layout.value)
            if field == key
        )
