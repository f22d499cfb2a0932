"""Value formulas: trees over `add`, `sub`, `mul`, `div` and `lut`, each rounded once in binary32.

A leaf is a field's name or a constant. Integers become binary32 exactly (codes have at most 24
bits), each operator rounds once to nearest even in tree order, and nothing is fused.
"""

from collections.abc import Iterator

__all__ = [
    "OPERATORS",
    "Expression",
    "constants",
    "depth",
    "divides",
    "leaves",
    "lookups",
    "node_count",
    "replaced",
    "show",
]

Expression = str | float | tuple["str | Expression", ...]

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def leaves(expression: Expression) -> Iterator[str]:
    """Names of the fields in evaluation order, tables of look-ups left out."""
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, tuple):
        for operand in expression[2:] if expression[0] == "lut" else expression[1:]:
            yield from leaves(operand)


def constants(expression: Expression) -> Iterator[float]:
    """The numbers in a formula, in evaluation order."""
    if isinstance(expression, float):
        yield expression
    elif isinstance(expression, tuple):
        for operand in expression[1:]:
            yield from constants(operand)


def lookups(expression: Expression) -> Iterator[tuple[str, str]]:
    """Each table and the field whose codes it is looked up by, in evaluation order."""
    if not isinstance(expression, tuple):
        return
    if expression[0] == "lut":
        yield str(expression[1]), str(expression[2])
        return
    for operand in expression[1:]:
        yield from lookups(operand)


def replaced(expression: Expression, path: tuple[int, ...], node: Expression) -> Expression:
    """The formula with another node where `path` leads, an operand's place at every step."""
    if not path:
        return node
    parts = list(expression) if isinstance(expression, tuple) else []
    parts[path[0]] = replaced(parts[path[0]], path[1:], node)
    return tuple(parts)


def node_count(expression: Expression) -> int:
    """Operators and leaves together."""
    if not isinstance(expression, tuple):
        return 1
    operands = expression[2:] if expression[0] == "lut" else expression[1:]
    return 1 + sum(map(node_count, operands))


def depth(expression: Expression) -> int:
    """Length of the longest path from the root to a leaf, counted in nodes."""
    if not isinstance(expression, tuple):
        return 1
    return 1 + max(map(depth, expression[1:]))


def divides(expression: Expression) -> bool:
    """Whether a number is divided by another anywhere in the formula."""
    return isinstance(expression, tuple) and (
        expression[0] == "div" or any(map(divides, expression[1:]))
    )


def show(expression: Expression) -> str:
    """The formula in ordinary notation, with every rounding step in its own parentheses."""
    return (
        _show(expression).removeprefix("(").removesuffix(")")
        if isinstance(expression, tuple) and expression[0] in OPERATORS
        else _show(expression)
    )


def _show(expression: Expression) -> str:
    if isinstance(expression, str):
        return expression
    if isinstance(expression, float):
        return f"{expression:g}"
    if expression[0] == "lut":
        return f"{expression[1]}[{_show(expression[2])}]"
    left, right = map(_show, expression[1:])
    return f"({left} {OPERATORS[str(expression[0])]} {right})"
