"""A decoder of `.rq` descriptors in plain Python: one weight at a time, one bit at a time.

Written from spec/05-descriptors.md alone: it reads the description as plain data, knows nothing
of NumPy, views or refquant, and is what a stranger would write first. It is the oracle for the
compiled path, and slow by intention.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from conformance.oracle import binary

__all__ = ["field_code", "values", "weight"]

Description = Mapping[str, Any]
Planes = Mapping[str, bytes]
Index = tuple[int, ...]

OPERATIONS = {
    "add": binary.add,
    "sub": binary.subtract,
    "mul": binary.multiply,
    "div": binary.divide,
}


def values(description: Description, planes: Planes, shape: Index) -> list[float]:
    """All weights of a tensor in C order."""
    return [weight(description, planes, shape, i) for i in product(*map(range, shape))]


def weight(description: Description, planes: Planes, shape: Index, index: Index) -> float:
    """The weight at `index`, in binary32."""
    fields = description["fields"]
    shape, index = viewed(description.get("ops", {}).get("view"), shape, index)
    codes = {name: field_code(description, name, planes, shape, index) for name in fields}
    places = {name: place_in_share(fields[name], shape, index) for name in fields}
    return evaluate(description, description["value"], codes, places)


def viewed(view: Any, shape: Index, index: Index) -> tuple[Index, Index]:
    """Shape and index of a weight as the planes have it, where `ops` names a view (D-24)."""
    if view is None:
        return shape, index
    number = 0
    for extent, i in zip(shape, index, strict=True):
        number = number * extent + i
    if view == ["flat"]:
        return (prod(shape),), (number,)
    _, group, axis, parts = view
    if prod(shape) % group:
        raise ValueError("the weights are no whole groups")
    rows, columns = (prod(shape) // group, group) if axis else (group, prod(shape) // group)
    step = -(-rows // parts)
    part, row = divmod(number // columns, step)
    return (step, columns, parts), (row, number % columns, part)


def gathered(
    description: Description, name: str, planes: Planes, shape: Index, index: Index
) -> Index:
    """The index of the first weight of the group that the index plane names (D-26)."""
    gather = description.get("ops", {}).get("gather")
    if gather is None or name not in gather["planes"]:
        return index
    (group,) = struct.unpack_from("<i", planes[gather["index"]], 4 * index[-1])
    block = full(description["planes"][name]["block"], shape)[-1]
    if not 0 <= group < -(-shape[-1] // block):
        raise ValueError("the index names no group")
    return (*index[:-1], group * block)


def stored_record(
    description: Description, name: str, planes: Planes, shape: Index, number: int
) -> bytes:
    """The bytes of a record, whose words lie apart where `ops` says so (D-25)."""
    plane, data = description["planes"][name], planes[name]
    words = description.get("ops", {}).get("words", {}).get(name, 1)
    blocks = full(plane["block"], shape)
    counts = [-(-n // b) for n, b in zip(shape, blocks, strict=True)]
    order = plane.get("order") or []
    outermost = order[0] if len(order) == len(shape) else 0
    first, rest = divmod(number, prod(counts) // counts[outermost])
    size = plane["bytes"] // words
    apart = prod(counts) // counts[outermost]
    starts = [((first * words + word) * apart + rest) * size for word in range(words)]
    return b"".join(data[start : start + size] for start in starts)


def place_in_share(field: Description, shape: Index, index: Index) -> int:
    """Which of the weights along the last axis that share a code of a field this one is."""
    return index[-1] % full(field["over"], shape)[-1]


def full(extents: Sequence[int], shape: Index) -> Index:
    """Extents with one number an axis: 1 where none is given, the axis where it is 0."""
    given = list(extents)
    while len(given) > len(shape):
        if given.pop(0) != 0:
            raise ValueError("the layout has more axes than the tensor")
    given = [1] * (len(shape) - len(given)) + given
    return tuple(e or n for e, n in zip(given, shape, strict=True))


def record_number(plane: Description, shape: Index, index: Index) -> int:
    """Which record of a plane holds the weight at `index`."""
    blocks = full(plane["block"], shape)
    counts = [-(-n // b) for n, b in zip(shape, blocks, strict=True)]
    place = [i // b for i, b in zip(index, blocks, strict=True)]
    order = plane.get("order") or []
    fixed = len(shape) - len(order)
    number = 0
    for axis in [*range(fixed), *(fixed + a for a in order)]:
        number = number * counts[axis] + place[axis]
    return number


def code_number(plane: Description, field: Description, shape: Index, index: Index) -> int:
    """Which of a record's codes of a field belongs to the weight at `index`."""
    blocks, overs = full(plane["block"], shape), full(field["over"], shape)
    number = 0
    for i, block, over in zip(index, blocks, overs, strict=True):
        number = number * (block // over) + i % block // over
    return number


def field_code(
    description: Description, name: str, planes: Planes, shape: Index, index: Index
) -> int:
    """The code of one field for the weight at `index`, sign extended where it is signed."""
    field = description["fields"][name]
    plane = description["planes"][field["plane"]]
    index = gathered(description, field["plane"], planes, shape, index)
    number = record_number(plane, shape, index)
    record = stored_record(description, field["plane"], planes, shape, number)
    code = code_number(plane, field, shape, index)
    return code_in_record(field, int.from_bytes(record, "little"), code)


def start_of(shape: Sequence[int], strides: Sequence[int], base: int, number: int) -> int:
    """First bit of run `number` of a slice; runs are numbered with the last axis fastest."""
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        number, place = divmod(number, extent)
        base += place * stride
    return base


def code_in_record(field: Description, record: int, number: int) -> int:
    """Code `number` of a field out of a record read as one little-endian integer."""
    element = field["elem"]
    if element["k"] == "d":
        for piece in field["at"]:
            stored = prod(piece[0][2])
            if number < stored * element["n"]:
                break
            number -= stored * element["n"]
        byte = joined_bits([piece], record, number % stored)
        # Digit k is the leading digit of the fraction byte/256, after k digits were shifted out.
        return (byte * element["base"] ** (number // stored) % 256) * element["base"] >> 8
    code = joined_bits(field["at"], record, number)
    if element["k"] == "i" and code >> (element["b"] - 1):
        return code - (1 << element["b"])
    return code


def joined_bits(pieces: Sequence[Any], record: int, number: int) -> int:
    """The bits of one code: its slices joined, low bits first."""
    for piece in pieces:
        count = prod(piece[0][2])
        if number >= count:
            number -= count
            continue
        code, low = 0, 0
        for bits, base, shape, strides in piece:
            start = start_of(shape, strides, base, number)
            code |= ((record >> start) & ((1 << bits) - 1)) << low
            low += bits
        return code
    raise ValueError("the field has fewer codes")


def evaluate(
    description: Description, value: Any, codes: Mapping[str, int], places: Mapping[str, int]
) -> float:
    """The formula on one weight's codes, every operator rounded once to binary32."""
    if isinstance(value, str):
        return number_of(description["fields"][value]["elem"], codes[value])
    if isinstance(value, float):
        return binary.f32(value)
    operator, left, right = value
    if operator == "lut":
        table = description["tables"][left]
        numbers = len(table) // 4 >> description["fields"][right]["elem"]["b"]
        place = codes[right] * numbers + (places[right] if numbers > 1 else 0)
        entry: float = struct.unpack_from("<f", table, 4 * place)[0]
        return entry
    operation = OPERATIONS[operator]
    return operation(
        evaluate(description, left, codes, places), evaluate(description, right, codes, places)
    )


def number_of(element: Description, code: int) -> float:
    """A code as a number: integers as they are, floats decoded."""
    if element["k"] != "f":
        return float(code)
    form = binary.Format(element["s"], element["e"], element["m"], element["bias"], element["sp"])
    return binary.decode(code, form)
