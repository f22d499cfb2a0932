"""Decoding compiled: a layout and a number of rows become a list of array operations.

`evaluate` finds out at every call what goes where, and takes fresh memory for every step. That
costs a hundred microseconds, so it wants long tiles, and those do not stay in the cache. For
layouts along the last axis a program has both behind it: its arrays and their views exist before
the first tile, and a step is one call. What it computes is the same, node by node of the formula,
from the same declaration.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from refquant.layout.declare import Field, Minifloat
from refquant.layout.expression import Expression
from refquant.layout.field_steps import add_field
from refquant.layout.formula_steps import Formula
from refquant.layout.layout import Layout
from refquant.layout.records import Bytes
from refquant.layout.steps import Array, Load, Step, Steps

__all__ = ["Program", "compile_program", "compiled", "has_program", "is_faster"]

F32 = NDArray[np.float32]

KINDS_KEPT, KEPT_OF_A_KIND = 4, 2
"""Programs that wait for their next tile keep their memory, one to three megabytes each."""


@dataclass(frozen=True, slots=True)
class Program:
    """The steps that decode `rows` rows, with the memory that they use: for one thread at a time.

    `records` says how many records of each plane a row has, `shape` is that of the cut values.
    """

    rows: int
    shape: tuple[int, ...]
    records: Mapping[str, int]
    loads: tuple[Load, ...]
    steps: tuple[Step, ...]

    def windows(self, planes: Mapping[str, Bytes]) -> list[Array]:
        """What each load reads, for all rows of a tensor: views of the planes' records."""
        flat = {name: plane.reshape(-1, plane.shape[-1]) for name, plane in planes.items()}
        return [load.window(flat[load.plane]) for load in self.loads]

    def run(self, windows: list[Array], start: int, values: F32) -> None:
        """Decode the rows from `start` on into `values`, contiguous memory for as many."""
        for load, window in zip(self.loads, windows, strict=True):
            count = self.records[load.plane]
            load.copy(window[start * count : (start + self.rows) * count])
        cut = values.reshape(self.shape)
        with np.errstate(all="ignore"):
            for step in self.steps:
                step.run(cut)


@lru_cache(maxsize=256)
def has_program(layout: Layout, width: int) -> bool:
    """Whether rows of `width` weights can be compiled: whole records in C order along them."""

    def whole(extents: tuple[int, ...]) -> bool:
        return len(extents) == 1 and width % (extents[0] or width) == 0

    def fits(field: Field) -> bool:
        return whole(field.over) and 1 <= _codes_of_record(layout, field, width) <= field.count

    planes, fields = layout.planes.values(), layout.fields.values()
    return (
        sys.byteorder == "little"
        and all(plane.order is None and whole(plane.block) for plane in planes)
        and all(map(fits, fields))
        and _is_nested([field.over[0] or width for field in fields])
        and not _looks_up_vectors(layout, layout.value)
    )


@lru_cache(maxsize=256)
def is_faster(layout: Layout) -> bool:
    """Whether a program does better than `evaluate`: not where the codes of weights lie ready.

    Then nothing has to be unpacked, and a load would be one copy more.
    """

    def lies_ready(field: Field) -> bool:
        bits, element = field.element.bits, field.element
        small = isinstance(element, Minifloat) and bits <= 8
        whole = layout.planes[field.plane].bytes * 8 == bits * field.count and bits % 8 == 0
        return field.over == (1,) and whole and not small

    return bool(layout.tables) or not any(map(lies_ready, layout.fields.values()))


def _is_nested(overs: list[int]) -> bool:
    return all(more % less == 0 for less, more in pairwise(sorted(overs)))


def _looks_up_vectors(layout: Layout, value: Expression) -> bool:
    """Whether an entry of a table stands for several weights anywhere in a formula."""
    if not isinstance(value, tuple):
        return False
    if value[0] == "lut":
        field = layout.fields[str(value[2])]
        return layout.tables[str(value[1])].size > 1 << field.element.bits
    return any(_looks_up_vectors(layout, operand) for operand in value[1:])


def _codes_of_record(layout: Layout, field: Field, width: int) -> int:
    block = layout.planes[field.plane].block[0] or width
    return block // (field.over[0] or width)


def compile_program(layout: Layout, width: int, rows: int) -> Program:
    """The program for `rows` rows of `width` weights."""
    records = {name: width // (p.block[0] or width) for name, p in layout.planes.items()}
    steps = Steps({name: rows * count for name, count in records.items()})
    overs = sorted({field.over[0] or width for field in layout.fields.values()} | {1})[::-1]
    shape = (rows * width // overs[0], *(more // less for more, less in pairwise(overs)))
    codes = {}
    for name, field in layout.fields.items():
        found = add_field(steps, field, _codes_of_record(layout, field, width))
        over = field.over[0] or width
        shared = (n if one >= over else 1 for n, one in zip(shape, overs, strict=True))
        codes[name] = found.reshape(tuple(shared))
    Formula(layout, codes, shape, steps).add(layout.value)
    return Program(rows, shape, records, tuple(steps.loads), tuple(steps.steps))


@lru_cache(maxsize=KINDS_KEPT)
def _idle(layout: Layout, width: int, rows: int) -> list[Program]:
    """Programs of one kind that no thread is running."""
    del layout, width, rows
    return []


@contextmanager
def compiled(layout: Layout, width: int, rows: int) -> Iterator[Program]:
    """A program that nobody else runs meanwhile, where `has_program` says that there is one."""
    idle = _idle(layout, width, rows)
    try:
        program = idle.pop()
    except IndexError:
        program = compile_program(layout, width, rows)
    yield program
    if len(idle) < KEPT_OF_A_KIND:
        idle.append(program)
