"""The public interface of `refquant` as text, one name a line: `api.txt` holds what was agreed.

    python tests/house/api.py            print it
    python tests/house/api.py --write    record it, after a deliberate change

Signatures are taken as they are written, so that they do not change with the version of NumPy.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import refquant

__all__ = ["RECORD", "public_interface"]

RECORD = Path(__file__).with_name("api.txt")


def _signature(function: Callable[..., object]) -> str:
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    (node,) = ast.parse(source).body
    if not isinstance(node, ast.FunctionDef):
        return ""
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){result}"


def _members(name: str, kind: type) -> Iterator[str]:
    fields = getattr(kind, "__dataclass_fields__", {})
    for member in sorted({*vars(kind), *fields}):
        if member.startswith("_"):
            continue
        value = inspect.getattr_static(kind, member, None)
        function = getattr(value, "__func__", value)
        yield f"{name}.{member}{_signature(function) if inspect.isfunction(function) else ''}"


def _lines(name: str) -> Iterator[str]:
    thing = getattr(refquant, name)
    if inspect.isclass(thing):
        yield f"class {name}({', '.join(base.__name__ for base in thing.__bases__)})"
        yield from _members(name, thing)
    elif inspect.ismodule(thing):  # refquant.schemes is a room and a function
        yield f"{name}{_signature(vars(thing)[name])}"
    elif callable(thing):
        yield f"{name}{_signature(thing)}"
    else:
        yield f"{name}: {type(thing).__name__}"


def public_interface() -> str:
    """Every name of `refquant.__all__`, with signatures, and the members of classes."""
    return "\n".join(line for name in sorted(refquant.__all__) for line in _lines(name)) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        RECORD.write_text(public_interface(), "utf-8")
    else:
        print(public_interface(), end="")
