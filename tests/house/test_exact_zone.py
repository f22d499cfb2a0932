"""The exact zone uses only operations whose result IEEE 754 defines without freedom.

`log2`, `exp`, `pow` and their kin differ between mathematical libraries; `sum`, `mean`, `dot` and
`@` depend on an order of additions that a library is free to choose. The least or largest number of
a group, where that is a zero, may have either sign; magnitudes have one sign, and `extremes` of
refquant/schemes/quads.py takes the first. A line that uses one of these on purpose, because its
operands are integers for example, says so: `# exact: the reason`.

Python's own `sum` and `**` are exact on Python's integers. Rooms that count bits and bytes with
them all the time (COUNTING) may do so without a comment; where weights are computed, they may not.
"""

import ast

import pytest

from tests.house import sources

ZONE = (
    "refquant/layout/",
    "refquant/schemes/",
    "refquant/formats/",
    "refquant/numerics.py",
    "refquant/driver/",
    "refquant/tensor.py",
    "refquant/mp1.py",
)

COUNTING = ("refquant/layout/", "refquant/formats/", "refquant/mp1.py", "refquant/tensor.py")

ELEMENTARY = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "power", "float_power"),
    *("sin", "cos", "tan", "tanh", "sinh", "cosh", "arctan", "arctan2", "cbrt", "hypot", "erf"),
    *("logaddexp", "logaddexp2"),
}
REDUCTIONS = {
    *("sum", "nansum", "cumsum", "mean", "average", "var", "std", "trace", "norm", "trapezoid"),
    *("dot", "vdot", "inner", "matmul", "tensordot", "einsum", "convolve"),
}
FORBIDDEN = ELEMENTARY | REDUCTIONS
EXTREMES = {"minimum", "maximum", "fmin", "fmax"}


def _name(function):
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_exact_power(node):
    """A power of an integer constant, or of 2.0, has one value."""
    base = node.left if isinstance(node, ast.BinOp) else None
    return isinstance(base, ast.Constant) and (isinstance(base.value, int) or base.value == 2.0)


def _is_free_extreme(call):
    """Whether a call reduces numbers, other than magnitudes, to their least or largest."""
    function = call.func
    if _name(function) != "reduce" or _name(function.value) not in EXTREMES:
        return False
    operand = call.args[0]
    return not (isinstance(operand, ast.Call) and _name(operand.func) == "abs")


def _use(node, *, counting):
    """What a node of the syntax tree does that the exact zone forbids, or an empty string."""
    if isinstance(node, ast.Call):
        builtin = isinstance(node.func, ast.Name)
        allowed = counting and builtin and _name(node.func) == "sum"
        if _is_free_extreme(node):
            return f"{_name(node.func.value)}.reduce()"
        return f"{_name(node.func)}()" if _name(node.func) in FORBIDDEN and not allowed else ""
    if not isinstance(node, (ast.BinOp, ast.AugAssign)):
        return ""
    if isinstance(node.op, ast.Pow):
        return "" if counting or _is_exact_power(node) else "**"
    return "@" if isinstance(node.op, ast.MatMult) else ""


def violations(source, *, counting=False):
    """Lines of a source text that leave the exact zone, as (line, what)."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        what = _use(node, counting=counting)
        if what:
            covered = lines[node.lineno - 1 : node.end_lineno]
            if not any("# exact: " in line for line in covered):
                found.append((node.lineno, what))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "y = np.log2(x)",
        "y = x.sum()",
        "y = sum(x)",
        "y = a @ b",
        "y = x ** 2",
        "x **= 2",
        "y = np.einsum('i,i', a, b)",
        "y = math.pow(2.0, e)",
        "y = np.maximum.reduce(x, axis=1)",
    ],
)
def test_the_lint_finds(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        *("y = np.ldexp(x, 3)", "y = 2**bits", "y = x.sum()  # exact: integers", "y = a * b + c"),
        "y = np.maximum.reduce(np.abs(x), axis=1)",
    ],
)
def test_the_lint_allows(source):
    assert not violations(source)


def test_a_counting_room_may_add_integers_but_not_arrays():
    assert not violations("size = sum(sizes) + base**count", counting=True)
    assert violations("y = x.sum() + np.sum(x)", counting=True) == [
        (1, "sum()"),
        (1, "sum()"),
    ]


def test_exact_zone():
    broken = [
        f"{sources.relative(path)}:{line}: {what}"
        for path in sources.modules()
        if sources.relative(path).startswith(ZONE)
        for line, what in violations(
            path.read_text("utf-8"), counting=sources.relative(path).startswith(COUNTING)
        )
    ]
    advice = "use exact operations, or say why the line is exact with `# exact: reason`"
    assert not broken, "\n".join([advice, *broken])
