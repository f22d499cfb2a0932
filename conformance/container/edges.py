"""Codes of no weight set to 0, one code at a time, by chapter 5 and not by the package's reader."""

from itertools import product
from math import prod

from conformance.oracle.layout import full, start_of

__all__ = ["cleared", "codes_of_no_weight"]


def codes_of_no_weight(plane, field, shape, place):
    """Numbers of the codes of a field that stand for no weight in the record at `place`."""
    blocks, overs = full(plane["block"], shape), full(field["over"], shape)
    shares = [block // over for block, over in zip(blocks, overs, strict=True)]
    each = field["elem"]["n"] if field["elem"]["k"] == "d" else 1
    found = list(range(prod(shares), each * sum(prod(piece[0][2]) for piece in field["at"])))
    for number, share in enumerate(product(*map(range, shares))):
        first = [p * b + s * o for p, b, s, o in zip(place, blocks, share, overs, strict=True)]
        if any(i >= n for i, n in zip(first, shape, strict=True)):
            found.append(number)
    return found


def cleared(description, shape, planes):
    """The planes of a tensor with every code of no weight 0; behind operators they are as given."""
    if "ops" in description:
        return planes
    return {name: cleared_plane(description, name, shape, data) for name, data in planes.items()}


def cleared_plane(description, name, shape, data):
    """One plane's bytes with every code of no weight 0."""
    plane = description["planes"][name]
    blocks = full(plane["block"], shape)
    grid = [-(-n // b) for n, b in zip(shape, blocks, strict=True)]
    fields = [f for f in description["fields"].values() if f["plane"] == name]
    has_digits = any(field["elem"]["k"] == "d" for field in fields)
    if not has_digits and all(n % b == 0 for n, b in zip(shape, blocks, strict=True)):
        return data
    order = plane.get("order") or []
    fixed = len(shape) - len(order)
    stored = [*range(fixed), *(fixed + axis for axis in order)]
    records = []
    for number, turned in enumerate(product(*(range(grid[axis]) for axis in stored))):
        place = [turned[stored.index(axis)] for axis in range(len(shape))]
        start = number * plane["bytes"]
        record = int.from_bytes(data[start : start + plane["bytes"]], "little")
        for field in fields:
            for code in codes_of_no_weight(plane, field, shape, place):
                record = without_code(field, record, code)
        records.append(record.to_bytes(plane["bytes"], "little"))
    return b"".join(records)


def without_code(field, record, number):
    """A record with one code of a field 0."""
    element = field["elem"]
    each = element["n"] if element["k"] == "d" else 1
    for piece in field["at"]:
        runs = prod(piece[0][2])
        if number < runs * each:
            break
        number -= runs * each
    if element["k"] == "d":
        return without_digit(element, piece[0], record, *divmod(number, runs))
    for bits, base, shape, strides in piece:
        record &= ~(((1 << bits) - 1) << start_of(shape, strides, base, number))
    return record


def without_digit(element, run, record, digit, number):
    """A record with digit `digit` of the byte of run `number` 0."""
    base, whole = element["base"], element["base"] ** element["n"]
    start = start_of(run[2], run[3], run[1], number)
    byte = record >> start & 255
    value = byte * whole // 256
    weight = base ** (element["n"] - 1 - digit)
    value -= value // weight % base * weight
    return record & ~(255 << start) | -(-value * 256 // whole) << start
