"""Valid files with layouts drawn at random, most of them stranger than any scheme's."""

from math import prod

from conformance.container.edges import cleared
from conformance.container.layout_files import ELEMENTS, width
from conformance.container.parts import assemble
from conformance.container.random_operators import with_operators

__all__ = ["random_parts"]

FLOAT32 = {"k": "f", "s": 1, "e": 8, "m": 23, "bias": 127, "sp": "ieee"}
DIGITS = [{"k": "d", "base": b, "n": n} for b, n in ((2, 8), (3, 5), (3, 1), (6, 2), (16, 2))]
CODES = [*ELEMENTS.values(), FLOAT32]


def random_slice(chance, bits, runs, base):
    """A slice of `runs` runs from `base` on, and the bit after it."""
    shape, rest = [], runs
    while rest > 1:
        factors = [n for n in range(2, rest + 1) if rest % n == 0]
        shape.append(chance.choice(factors))
        rest //= shape[-1]
    if chance.random() < 0.1:
        shape.insert(chance.randrange(len(shape) + 1), 1)
    strides, reach = [0] * len(shape), bits
    for axis in chance.sample(range(len(shape)), len(shape)):
        strides[axis] = reach + chance.choice([0, 0, 0, 1, 3, -reach % 8])
        reach = strides[axis] * shape[axis]
    end = base + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + bits
    return [bits, base, shape, strides], end


def random_pieces(chance, element, codes, base):
    """Pieces for as many codes, and the bit after them."""
    if element["k"] == "d":
        base += -base % 8
        runs = -(-codes // element["n"])
        return [[[8, base, [runs], [8]]]], base + 8 * runs
    cut = chance.randrange(1, codes) if codes > 1 and chance.random() < 0.3 else codes
    pieces = []
    for runs in (cut, codes - cut) if cut < codes else (codes,):
        piece, left = [], width(element)
        if left > 1 and chance.random() < 0.1:
            left -= 1  # the high bit is missing
        while left:
            bits = (
                left if left <= 32 and chance.random() < 0.6 else chance.randint(1, min(left, 32))
            )
            run, base = random_slice(chance, bits, runs, base + chance.choice([0, 0, 1, -base % 8]))
            piece.append(run)
            left -= bits
        pieces.append(piece)
    return pieces, base


def random_formula(chance, names, depth):
    """A tree in which every name stands at least once."""
    if len(names) > 1:
        cut = chance.randrange(1, len(names))
        sides = [random_formula(chance, part, depth - 1) for part in (names[:cut], names[cut:])]
        return [chance.choice(["add", "sub", "mul", "mul", "div"]), *sides]
    if depth > 1 and chance.random() < 0.3:
        other = chance.choice([names[0], 0.5, -8.0, 3.0, 1.5 * 2.0**-140, 2.0**100])
        return [chance.choice(["add", "sub", "mul", "div"]), names[0], other]
    return names[0]


def random_parts(chance):
    """A file with one tensor under a layout of its own."""
    rank = chance.randint(1, 3)
    shape = [chance.choice([1, 2, 3, 5, 8, 12, 16]) for _ in range(rank)]
    planes, fields, sizes = {}, {}, {}
    for plane in "abc"[: chance.randint(1, 3)]:
        axes = chance.randint(1, rank)
        ordered = axes > 1 and chance.random() < 0.4
        block = [chance.choice([0, 1, 2, 4, 8]) for _ in range(axes)]
        if block[0] == 1 and axes > 1 and not ordered:
            block[0] = 2
        base = 0
        for field in ("p", "q")[: chance.randint(1, 2)]:
            over = [n and chance.choice([d for d in (1, 2, 4, 8) if n % d == 0]) for n in block]
            codes = prod(n // o for n, o in zip(block, over, strict=True) if o)
            element = chance.choice(CODES if chance.random() < 0.85 else DIGITS)
            at, base = random_pieces(chance, element, codes, base)
            fields[plane + field] = {"plane": plane, "elem": element, "over": over, "at": at}
        record = -(-base // 8) + chance.choice([0, 0, 0, 1])
        planes[plane] = {"block": block, "bytes": record}
        if ordered:
            order = list(range(axes))
            while order == sorted(order):
                chance.shuffle(order)
            planes[plane]["order"] = order
        whole = [*[1] * (rank - axes), *block]
        grid = [-(-n // (b or n)) for n, b in zip(shape, whole, strict=True)]
        sizes[plane] = chance.randbytes(prod(grid) * record)
        clear_spare_bits(sizes, planes, fields, plane)
    layout = {"rqd": 1, "planes": planes, "fields": fields}
    layout["value"] = random_formula(chance, chance.sample(sorted(fields), len(fields)), 4)
    lawful = cleared(layout, shape, sizes)
    if chance.random() < 0.35:
        layout, shape, lawful = with_operators(chance, layout, shape, lawful)
    return assemble([("w", layout, shape, lawful)])


def clear_spare_bits(sizes, planes, fields, plane):
    """Set the bits of no field to 0, and bytes of digits to 0, which is a row of any digits."""
    size = planes[plane]["bytes"]
    mask = bytearray(size)
    for field in fields.values():
        if field["plane"] != plane or field["elem"]["k"] == "d":
            continue
        for bits, base, shape, strides in (run for piece in field["at"] for run in piece):
            starts = [base]
            for n, s in zip(shape, strides, strict=True):
                starts = [start + i * s for start in starts for i in range(n)]
            for bit in (start + k for start in starts for k in range(bits)):
                mask[bit // 8] |= 1 << bit % 8
    sizes[plane] = bytes(b & mask[i % size] for i, b in enumerate(sizes[plane]))
