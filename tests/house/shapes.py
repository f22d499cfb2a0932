"""Shape comments on `def` lines: read, and compared with what functions are really given.

    def attend(queries, keys, scale):  # f32[t, h, d], f32[n, h, d] -> f32[t, h * d]
    def encode(x):  # f32[b, 32] -> d f16[b], q u4[b, 32]; an all-zero block has scale 0

Items stand in the order of the parameters (`self` apart) and of the returned tuple, or name the
keys of a returned dict; `?` marks one that may be missing. Codes of less than 8 bits come in bytes,
and a float under a name may come as its bits. An axis is a name, a number, `...` for any number of
axes, `*name` for several, or arithmetic over names. `or` separates alternatives, a remark follows
a semicolon. A result that is not an array is a word. Nothing of this runs outside of tests.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType

import numpy as np

__all__ = ["Shapes", "ShapesError", "comments", "parse", "watch"]

# What each word for a type admits; NumPy's letters for kinds where a family is meant.
TYPES = {
    **{f"u{bits}": ("uint8",) for bits in range(1, 8)},
    **{f"i{bits}": ("int8",) for bits in range(2, 8)},
    **{f"f{bits}": (f"float{bits}",) for bits in (16, 32, 64)},
    "bf16": ("uint16",),
    **dict.fromkeys(("e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "e8m0"), ("uint8",)),
    **{f"i{bits}": (f"int{bits}",) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": (f"uint{bits}",) for bits in (8, 16, 32, 64)},
    **{f"c{bits}": (f"complex{bits}",) for bits in (64, 128)},
    "bool": ("bool",),
    "int": tuple("iu"),
    "code": tuple("iuf"),
    "float": tuple("f"),
    "packed": tuple("biufcV"),
    "any": tuple("biufcV"),
}


# What a field of an encoded record may be in place of a float: its bits.
BITS = {"f16": "uint16", "f32": "uint32", "f64": "uint64"}


class ShapesError(AssertionError):
    """A comment cannot be read, or a function is not given or does not return what it says."""


@dataclass(frozen=True)
class Item:
    """`f32[t, 2 * d]`, or a word such as `tensor` with no axes; `text` is as written."""

    text: str
    name: str
    type: str
    axes: tuple[ast.expr, ...] | None


@dataclass(frozen=True)
class Shapes:
    """A whole comment: alternatives for each argument and each result."""

    text: str
    arguments: tuple[tuple[Item, ...], ...]
    results: tuple[tuple[Item, ...], ...]


def parse(comment: str) -> Shapes:
    """The meaning of a comment; raises ShapesError where it has none."""
    text = comment.split(";", maxsplit=1)[0].strip()
    before, arrow, after = text.partition("->")
    arguments, results = _items(before), _items(after)
    if (not arguments and not results) or (arrow and not results):
        raise ShapesError(f"no shapes in {comment!r}")
    return Shapes(comment, arguments, results)


def _items(text: str) -> tuple[tuple[Item, ...], ...]:
    parts = re.split(r",(?![^\[]*\])", text) if text.strip() else []
    return tuple(tuple(map(_item, part.split(" or "))) for part in parts)


def _item(text: str) -> Item:
    match = re.fullmatch(r"\s*(?:([a-z]\w*) )?([a-z]\w*)(\[.*\])?\??(?: per \w+)?\s*", text)
    if not match:
        raise ShapesError(f"cannot read {text.strip()!r}")
    name, kind, brackets = match[1] or "", match[2], match[3]
    if brackets is None:
        return Item(text.strip(), name, kind, None)
    if kind not in TYPES:
        raise ShapesError(f"unknown type {kind!r} in {text.strip()!r}")
    try:
        index = ast.parse(kind + brackets, mode="eval").body.slice
    except SyntaxError as error:
        raise ShapesError(f"cannot read the axes of {text.strip()!r}") from error
    axes = tuple(index.elts) if isinstance(index, ast.Tuple) else (index,)
    return Item(text.strip(), name, kind, axes)


def comments(path: Path) -> Iterator[tuple[str, int, str]]:
    """The functions of a file that carry a shape comment: qualified name, line, comment."""
    lines = path.read_text("utf-8").splitlines()

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                signature = lines[child.lineno - 1 : child.body[0].lineno - 1]
                for offset, line in enumerate(signature):
                    match = re.search(r":\s+# (.*[\[>].*)$", line)
                    if match and "noqa" not in match[1] and "type:" not in match[1]:
                        yield prefix + child.name, child.lineno + offset, match[1]

    yield from walk(ast.parse("\n".join(lines)), "")


def watch(
    module: ModuleType, modules: list[ModuleType], report: list[str], calls: list[str]
) -> Iterator[tuple[object, str, Callable[..., object]]]:
    """Wrapped functions of a module that check their comment: (owner, name, wrapper) to install.

    A function is replaced wherever one of `modules` holds it under its name. What does not agree
    is appended to `report`, so that one run shows all; `calls` gets the name of what was checked.
    """
    assert module.__file__
    for name, line, comment in comments(Path(module.__file__)):
        shapes = parse(comment)
        place = f"{module.__name__}:{line}: {name}  # {comment}"
        owner, _, attribute = name.rpartition(".")
        target = getattr(module, owner) if owner else module
        original = inspect.getattr_static(target, attribute, None)
        if not inspect.isfunction(original):
            continue
        wrapper = _wrapper(original, shapes, place, report, calls)
        holders = [target] if owner else [m for m in modules if vars(m).get(name) is original]
        for holder in holders:
            yield holder, attribute, wrapper


def _wrapper(
    function: Callable[..., object],
    shapes: Shapes,
    place: str,
    report: list[str],
    calls: list[str],
) -> Callable[..., object]:
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    signature = inspect.signature(function)
    if len(shapes.arguments) > len(names):
        raise ShapesError(f"{place}: more shapes than parameters")

    @wraps(function)
    def checked(*args: object, **kwargs: object) -> object:
        values = signature.bind(*args, **kwargs).arguments
        axes: dict[str, object] = {}
        calls.append(place)
        arguments = [values.get(name) for name in names]
        _compare(shapes.arguments, arguments, axes, place, report)
        answer = function(*args, **kwargs)
        if isinstance(answer, dict):
            results = [answer.get(alternatives[0].name) for alternatives in shapes.results]
            for alternatives, result in zip(shapes.results, results, strict=True):
                if result is None and not alternatives[0].text.endswith("?"):
                    report.append(f"{place}\n    nothing under {alternatives[0].name!r}")
        else:
            results = list(answer) if isinstance(answer, tuple) else [answer]
        _compare(shapes.results, results, axes, place, report)
        return answer

    return checked


def _compare(
    items: tuple[tuple[Item, ...], ...],
    values: list[object],
    axes: dict[str, object],
    place: str,
    report: list[str],
) -> None:
    for alternatives, value in zip(items, values, strict=False):
        if isinstance(value, np.ndarray) and not _fits(alternatives, value, axes):
            wanted = " or ".join(item.text for item in alternatives)
            bound = ", ".join(f"{name} = {size}" for name, size in axes.items())
            found = f"{value.dtype}{list(value.shape)}"
            report.append(f"{place}\n    found {found}, expected {wanted} ({bound})")


def _fits(alternatives: tuple[Item, ...], value: np.ndarray, axes: dict[str, object]) -> bool:
    for item in alternatives:
        trial = dict(axes)
        names = TYPES.get(item.type, ())
        if item.name and value.dtype.name == BITS.get(item.type):
            names = (value.dtype.name,)
        right_type = item.axes is not None and (
            value.dtype.name in names or value.dtype.kind in names
        )
        if right_type and _bind(item.axes or (), value.shape, trial):
            axes.update(trial)
            return True
    return False


def _bind(pattern: tuple[ast.expr, ...], shape: tuple[int, ...], axes: dict[str, object]) -> bool:
    """Whether a shape follows a pattern; names met for the first time are bound on the way."""
    several = [n for n, axis in enumerate(pattern) if _is_several(axis)]
    if not several:
        return len(pattern) == len(shape) and all(
            _size(axis, size, axes) for axis, size in zip(pattern, shape, strict=True)
        )
    before, after = several[0], len(pattern) - several[0] - 1
    if len(several) > 1 or len(shape) < before + after:
        return len(several) > 1
    middle = shape[before : len(shape) - after]
    ends = (*shape[:before], *shape[len(shape) - after :])
    wanted = (*pattern[:before], *pattern[before + 1 :])
    name = ast.unparse(pattern[before])
    plain = name == "..." or name.removeprefix("*").isidentifier()
    return (not plain or axes.setdefault(name, middle) == middle) and all(
        _size(axis, size, axes) for axis, size in zip(wanted, ends, strict=True)
    )


def _is_several(axis: ast.expr) -> bool:
    ellipsis = isinstance(axis, ast.Constant) and axis.value is ...
    return ellipsis or isinstance(axis, ast.Starred)


def _size(axis: ast.expr, size: int, axes: dict[str, object]) -> bool:
    if isinstance(axis, ast.Name):
        return axes.setdefault(axis.id, size) == size
    names = {node.id for node in ast.walk(axis) if isinstance(node, ast.Name)}
    if any(not isinstance(axes.get(name), int) for name in names):
        return True  # arithmetic over a name that nothing has bound says nothing yet
    return eval(ast.unparse(axis), {"ceil": np.ceil}, dict(axes)) == size  # noqa: S307  # parsed above
