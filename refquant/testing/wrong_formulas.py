"""Wrong readings of the formula: operators exchanged, offsets scaled or not, results doubled."""

from collections.abc import Iterator
from dataclasses import replace

from refquant.layout.expression import Expression, replaced
from refquant.testing.reading import Reading, Suspect

__all__ = ["wrong_formulas"]


def wrong_formulas(right: Reading) -> Iterator[Suspect]:
    """The formula with one node changed, or with its factors multiplied out wrongly."""
    for path, node in _nodes(right.value):
        if node[0] in ("add", "sub"):
            other = "sub" if node[0] == "add" else "add"
            words = "subtracted where it is added" if other == "sub" else "added"
            changed = replaced(right.value, path, (other, *node[1:]))
            yield f"{_name(node[2])} is {words}", replace(right, value=changed).values
        if node[0] == "div":
            changed = replaced(right.value, path, ("mul", *node[1:]))
            yield (
                f"multiplied by {_name(node[2])}, which divides",
                replace(right, value=changed).values,
            )
        for sentence, changed_node in _multiplied_out(node):
            changed = replaced(right.value, path, changed_node)
            yield sentence, replace(right, value=changed).values
    for factor, words in ((2.0, "doubled"), (0.5, "halved")):
        yield (
            f"every value is {words}",
            replace(right, value=("mul", right.value, factor)).values,
        )


def _multiplied_out(node: tuple[Expression, ...]) -> Iterator[tuple[str, Expression]]:
    """`s * (q - z)` for `s * q - z`, and the reverse, with either sign."""
    match node:
        case ("add" | "sub" as operator, ("mul", scale, code), offset):
            for sign in ("sub", "add"):
                yield (
                    f"{_name(offset)} is read as a zero point, and scaled",
                    ("mul", scale, (sign, code, offset)),
                )
                yield (
                    f"{_name(offset)} is read as a zero point, and scaled",
                    ("mul", code, (sign, scale, offset)),
                )
            yield f"{_name(offset)} is left out ({operator})", ("mul", scale, code)
        case ("mul", scale, ("add" | "sub" as operator, code, offset)):
            yield (
                f"{_name(offset)} is read as an offset, and not scaled",
                (operator, ("mul", scale, code), offset),
            )


def _name(value: Expression) -> str:
    if isinstance(value, tuple):
        return "the last term"
    return value if isinstance(value, str) else f"{value:g}"


def _nodes(
    value: Expression, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], tuple[Expression, ...]]]:
    if isinstance(value, tuple) and value[0] != "lut":
        yield path, value
        for i, operand in enumerate(value[1:], 1):
            yield from _nodes(operand, (*path, i))
