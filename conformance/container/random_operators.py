"""Operators drawn at random for a layout that was: mostly such as fit it."""

from math import prod

from conformance.container.operator_files import index
from conformance.oracle.layout import full

__all__ = ["with_operators"]


def grid_of(plane, shape):
    """Records along the axes of the stored grid."""
    counts = [-(-n // b) for n, b in zip(shape, full(plane["block"], shape), strict=True)]
    order = plane.get("order") or []
    fixed = len(shape) - len(order)
    return [*counts[:fixed], *(counts[fixed + axis] for axis in order)]


def with_operators(chance, layout, shape, planes):
    """A description with `ops`, the shape of its tensor, and the stored planes."""
    kinds = [apart_and_gathered]
    if len(shape) == 1:
        kinds.append(flat)
    if len(shape) == 3 and 2 <= shape[2] <= 64:
        kinds.append(parted)
    return chance.choice(kinds)(chance, layout, shape, planes)


def flat(chance, layout, shape, planes):
    """One axis as the weights of several."""
    rows = chance.choice([n for n in range(1, shape[0] + 1) if shape[0] % n == 0])
    return layout | {"ops": {"view": ["flat"]}}, [rows, shape[0] // rows], planes


def parted(chance, layout, shape, planes):
    """Three axes as the parts of a matrix, of which some rows may be missing."""
    step, columns, parts = shape
    rows = step * parts - chance.choice([0, 0, chance.randrange(min(parts, step * parts))])
    axis = chance.randrange(2)
    view = ["parts", columns if axis else rows, axis, parts]
    if -(-rows // parts) == step:
        planes = {p: shortened(layout["planes"][p], shape, rows, d) for p, d in planes.items()}
    return layout | {"ops": {"view": view}}, [rows, columns], planes


def shortened(plane, shape, rows, data):
    """The records up to the last that covers one of the rows."""
    step, columns, parts = shape
    blocks, order = full(plane["block"], shape), plane.get("order") or []
    axes = [*range(3 - len(order)), *(3 - len(order) + axis for axis in order)]
    last = 0
    for part in range(parts):
        left = min(step, rows - part * step)
        if left > 0:
            place = [i // b for i, b in zip((left - 1, columns - 1, part), blocks, strict=True)]
            number = 0
            for extent, axis in zip(grid_of(plane, shape), axes, strict=True):
                number = number * extent + place[axis]
            last = max(last, number)
    return data[: (last + 1) * plane["bytes"]]


def apart_and_gathered(chance, layout, shape, planes):
    """Words of some records apart, some records by an index, or both."""
    ops, planes = {}, dict(planes)
    if chance.random() < 0.6:
        words = {
            name: chance.choice([2, 2, 3, 4])
            for name, plane in layout["planes"].items()
            if plane["bytes"] % 2 == 0 or chance.random() < 0.05
        }
        for name, count in words.items():
            planes[name] = apart(layout["planes"][name], shape, count, planes[name])
        ops |= {"words": words} if words else {}
    listed = [name for name in layout["planes"] if is_gatherable(layout, name)]
    listed = chance.sample(listed, chance.randint(0, len(listed)))
    if listed:
        blocks = [full(layout["planes"][name]["block"], shape)[-1] for name in listed]
        groups = min(-(-shape[-1] // block) for block in blocks)
        named = [chance.randrange(groups) for _ in range(shape[-1])]
        if chance.random() < 0.1:
            named[chance.randrange(shape[-1])] = chance.choice([-1, groups, 2**31 - 1])
        name = chance.choice(["aa", "g", "z"])
        ops["gather"] = {"index": name, "planes": sorted(listed)}
        planes[name] = index(*named)
    return (layout | {"ops": ops} if ops or chance.random() < 0.1 else layout), shape, planes


def is_gatherable(layout, name):
    """Whether each field of a plane has one code for the inputs of a group."""
    block = layout["planes"][name]["block"][-1]
    fields = [field for field in layout["fields"].values() if field["plane"] == name]
    return layout["planes"][name]["bytes"] <= 16 and all(f["over"][-1] == block for f in fields)


def apart(plane, shape, words, data):
    """A plane's bytes with the words of its records apart."""
    if plane["bytes"] % words:
        return data
    first, *others = grid_of(plane, shape)
    rest, size = prod(others), plane["bytes"] // words
    starts = [
        ((row * rest + record) * words + word) * size
        for row in range(first)
        for word in range(words)
        for record in range(rest)
    ]
    return b"".join(data[start : start + size] for start in starts)
