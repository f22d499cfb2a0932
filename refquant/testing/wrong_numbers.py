"""Wrong readings of numbers: signs, zero points, scales, tables, kinds of float, arithmetic."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refquant.layout import Minifloat, Signed, Unsigned, numbers
from refquant.layout.expression import Expression, replaced
from refquant.numerics import bfloat16_bits, float32_from_bfloat16
from refquant.tensor import QuantizedTensor
from refquant.testing.reading import Reading, Suspect
from refquant.testing.shapes import code_fields

__all__ = [
    "wrong_arithmetic",
    "wrong_exchanges",
    "wrong_floats",
    "wrong_offsets",
    "wrong_scales",
    "wrong_signs",
    "wrong_tables",
    "wrong_tensors",
]

F32 = NDArray[np.float32]


def wrong_signs(right: Reading) -> Iterator[Suspect]:
    """Unsigned codes read as signed, two's complement read with an offset, and the reverse."""
    for name, field in right.layout.fields.items():
        match field.element:
            case Unsigned(bits):
                codes = right.codes[name].astype(np.int32)
                half = 1 << (bits - 1)
                signed = right.with_codes(name, (codes ^ half) - half, Signed(max(bits, 2)))
                yield f"{name} is unsigned but read as signed", signed.values
                without = _without_constant(right.value, name, float(half))
                if without != right.value:
                    bare = replace(signed, value=without)
                    yield f"{name} is read as two's complement, not with an offset", bare.values
            case Signed(bits):
                codes = right.codes[name].astype(np.int32)
                unsigned = right.with_codes(name, codes & ((1 << bits) - 1))
                yield f"{name} is signed but read as unsigned", unsigned.values
                half = 1 << (bits - 1)
                excess = right.with_codes(name, (codes & ((1 << bits) - 1)) - half)
                yield f"{name} is two's complement but read with an offset of {half}", excess.values


def _without_constant(value: Expression, name: str, offset: float) -> Expression:
    """The formula with `name - offset` replaced by `name`."""
    match value:
        case ("sub", str(found), float(constant)) if (found, constant) == (name, offset):
            return name
        case tuple():
            return (value[0], *(_without_constant(v, name, offset) for v in value[1:]))
    return value


def wrong_offsets(right: Reading) -> Iterator[Suspect]:
    """Zero points and constants off by one, left out, or with the wrong sign."""
    for name in sorted(_subtracted(right.value)):
        for step in (1, -1):
            words = "large" if step > 0 else "small"
            yield (
                f"zero point off by one: {name} is taken 1 too {words} (GPTQ v1 against v2)",
                right.with_numbers(name, right.numbers[name] + np.float32(step)).values,
            )
        absent = np.zeros_like(right.numbers[name])
        yield f"zero point left out: {name} is ignored", right.with_numbers(name, absent).values
    for name in sorted(_subtracted(right.value)):
        opposite = right.with_numbers(name, -right.numbers[name])
        yield f"{name} is added where it is subtracted", opposite.values
    for path, constant in _constants(right.value):
        for wrong, words in (
            (constant + 1, "one too large"),
            (constant - 1, "one too small"),
            (0.0, "left out"),
            (-constant, "of the wrong sign"),
        ):
            kind = "zero point off by one" if words.startswith("one") else "offset"
            yield (
                f"{kind}: the constant {constant:g} of the formula is {words}",
                replace(right, value=replaced(right.value, path, wrong)).values,
            )


def _subtracted(value: Expression) -> set[str]:
    """Fields that stand on the right of a subtraction."""
    if not isinstance(value, tuple) or value[0] == "lut":
        return set()
    found = {name for operand in value[1:] for name in _subtracted(operand)}
    if value[0] == "sub":
        right = value[2]
        names = (
            [right]
            if isinstance(right, str)
            else list(right[1:])
            if isinstance(right, tuple)
            else []
        )
        found |= {name for name in names if isinstance(name, str) and name not in ("add", "mul")}
    return found


def _constants(
    value: Expression, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, tuple):
        for i, operand in enumerate(value[1:], 1):
            yield from _constants(operand, (*path, i))


def wrong_scales(tensor: QuantizedTensor, right: Reading) -> Iterator[Suspect]:
    """Scales inverted, halved, without a sign, of another group, in another byte order."""
    codes = code_fields(tensor.layout)
    for name, field in tensor.layout.fields.items():
        if name in codes and len(tensor.layout.fields) > 1:
            continue
        element, found = field.element, right.numbers[name]
        if isinstance(element, Minifloat):
            yield (
                f"reciprocal scale: 1/{name} is used where {name} is defined",
                right.with_numbers(name, np.float32(1) / found).values,
            )
            for factor, words in ((2, "doubled"), (0.5, "halved")):
                yield (
                    f"the exponent of {name} is off by one: it is {words}",
                    right.with_numbers(name, found * np.float32(factor)).values,
                )
            yield f"the sign of {name} is dropped", right.with_numbers(name, np.abs(found)).values
            yield f"subnormal {name} are flushed to zero", _flushed(right, name, element)
            if element.bits in (16, 32):
                yield f"{name} is read as big-endian", _big_endian(right, name)
        yield f"{name} is left out", right.with_numbers(name, np.ones_like(found)).values
        yield from _neighbours(tensor, right, name)


def _flushed(right: Reading, name: str, element: Minifloat) -> Callable[[], F32]:
    least = np.float32(2.0 ** max(1 - element.bias, -126))
    found = right.numbers[name]
    flushed = np.where(np.abs(found) < least, np.copysign(np.float32(0), found), found)
    return right.with_numbers(name, flushed).values


def _big_endian(right: Reading, name: str) -> Callable[[], F32]:
    return lambda: right.with_codes(name, right.codes[name].byteswap()).values()


def _neighbours(tensor: QuantizedTensor, right: Reading, name: str) -> Iterator[Suspect]:
    """The parameter of another group, along the axis of the groups."""
    over = tensor.layout.fields[name].over
    active = [a for a in range(len(over)) if over[a] != 1]
    if len(active) != 1 or not over[active[0]]:
        return
    axis = active[0] - len(over)
    size, numbers_of = over[active[0]], right.numbers[name]
    if size >= numbers_of.shape[axis]:
        axes = [a for a in range(-numbers_of.ndim, 0) if a != axis and numbers_of.shape[a] > 1]
        if not axes:
            return
        axis, size = axes[-1], 1
    for step, words in ((size, "previous"), (-size, "next")):
        rolled = np.roll(numbers_of, step, axis)
        yield (
            f"{name} of the {words} group is used",
            right.with_numbers(name, rolled).values,
        )
    first = np.broadcast_to(np.take(numbers_of, [0], axis), numbers_of.shape)
    yield (
        f"{name} of the first group is used for all",
        right.with_numbers(name, first).values,
    )


def wrong_exchanges(right: Reading) -> Iterator[Suspect]:
    """Two fields of the same kind taken for one another."""
    fields = list(right.layout.fields.items())
    for i, (left_name, left) in enumerate(fields):
        for name, field in fields[i + 1 :]:
            if field.element == left.element and field.over == left.over:
                exchanged = {left_name: right.numbers[name], name: right.numbers[left_name]}
                yield (
                    f"{left_name} and {name} exchanged",
                    replace(right, numbers={**right.numbers, **exchanged}).values,
                )


_FLOATS = {
    "bfloat16": Minifloat(1, 8, 7, 127, "ieee"),
    "float16": Minifloat(1, 5, 10, 15, "ieee"),
    "float8_e4m3fn": Minifloat(1, 4, 3, 7, "fn"),
    "float8_e4m3fnuz": Minifloat(1, 4, 3, 8, "fnuz"),
    "float8_e5m2": Minifloat(1, 5, 2, 15, "ieee"),
    "float8_e5m2fnuz": Minifloat(1, 5, 2, 16, "fnuz"),
    "float8_e8m0": Minifloat(0, 8, 0, 127, "e8m0"),
    "float6_e2m3": Minifloat(1, 2, 3, 1, "none"),
    "float6_e3m2": Minifloat(1, 3, 2, 3, "none"),
    "float8_e4m3 without NaN": Minifloat(1, 4, 3, 7, "none"),
    "float16 without infinities": Minifloat(1, 5, 10, 15, "none"),
    "float8_e5m2 without infinities": Minifloat(1, 5, 2, 15, "none"),
}


def wrong_floats(right: Reading) -> Iterator[Suspect]:
    """Floats read as another kind of the same width."""
    for name, field in right.layout.fields.items():
        if not isinstance(field.element, Minifloat):
            continue
        for kind, element in _FLOATS.items():
            if element.bits == field.element.bits and element != field.element:
                wrong = numbers(right.codes[name], element)
                yield (
                    f"{name} is read as {kind}",
                    right.with_numbers(name, wrong).values,
                )


def wrong_tables(right: Reading) -> Iterator[Suspect]:
    """Tables read backwards, shifted, or with their halves exchanged."""
    for name, table in right.tables.items():
        half = len(table) // 2
        for words, wrong in (
            ("read backwards", table[::-1]),
            ("with its halves exchanged", np.roll(table, half)),
            ("one entry too early", np.roll(table, 1)),
            ("one entry too late", np.roll(table, -1)),
            ("with its signs exchanged", -table),
            ("rounded to float16", table.astype(np.float16).astype(np.float32)),
            ("rounded to bfloat16", float32_from_bfloat16(bfloat16_bits(table))),
        ):
            yield (
                f"table {name} is {words}",
                replace(right, tables={**right.tables, name: wrong}).values,
            )


def wrong_tensors(tensor: QuantizedTensor, expected: F32) -> Iterator[Suspect]:
    """Right values in wrong places."""
    shape = tensor.shape
    if len(shape) > 1:
        last = expected.reshape(-1, shape[-1])
        yield "the tensor is transposed", lambda: np.ascontiguousarray(last.T).reshape(shape)
        yield (
            "the tensor is written column by column",
            lambda: np.ascontiguousarray(last.reshape(last.shape[::-1]).T).reshape(shape),
        )
    for plane in tensor.layout.planes.values():
        size = plane.block[-1]
        if size > 1:
            for step, words in ((size, "late"), (-size, "early")):
                yield (
                    f"every block of {size} is one block too {words}",
                    partial(_rolled, expected, step),
                )


def wrong_arithmetic(right: Reading, expected: F32) -> Iterator[Suspect]:
    """Right numbers, computed or rounded in another way."""
    yield (
        "the formula is computed with a fused multiply-add, or in a wider type",
        lambda: right.values(np.float64),
    )
    yield "the formula is computed in float16", lambda: right.values(np.float16)
    yield (
        "values are rounded to float16",
        lambda: expected.astype(np.float16).astype(np.float32),
    )
    yield (
        "values are rounded to bfloat16",
        lambda: float32_from_bfloat16(bfloat16_bits(expected)),
    )
    yield "subnormal values are flushed to zero", lambda: _flush(expected)
    yield "-0.0 is written as 0.0", lambda: expected + np.float32(0)
    yield (
        "NaN is written as 0.0",
        lambda: np.where(np.isnan(expected), np.float32(0), expected),
    )
    yield "signs are wrong", lambda: -expected


def _rolled(x: F32, step: int) -> F32:
    return np.roll(x.reshape(-1), step).reshape(x.shape)


def _flush(x: F32) -> F32:
    tiny = np.float32(2.0**-126)
    return np.where(np.abs(x) < tiny, np.copysign(np.float32(0), x), x)
