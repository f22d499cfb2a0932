"""The public interface of `refquant` as text, one name a line: `api.txt` holds what was agreed.

python tests/house/api.py            print it
python tests/house/api.py --write    record it, after a deliberate change
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import refquant

__all__ = ["RECORD", "public_interface"]

RECORD = Path(__file__).with_name("api.txt")


def _signature(thing: object) -> str:
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]  # classes may refuse
    except (TypeError, ValueError):
        return ""
    return re.sub(r"\b(?:refquant|numpy|collections|pathlib|fractions)\.(?:\w+\.)*", "", text)


def _members(name: str, kind: type) -> Iterator[str]:
    for member, value in sorted(vars(kind).items()):
        if member.startswith("_"):
            continue
        plain = inspect.unwrap(getattr(value, "__func__", value))
        if inspect.isroutine(plain):
            yield f"{name}.{member}{_signature(plain)}"
        else:
            yield f"{name}.{member}"


def _lines(name: str) -> Iterator[str]:
    thing = getattr(refquant, name)
    if inspect.ismodule(thing) and callable(thing):  # refquant.schemes is both
        thing = thing.__call__
    if inspect.isclass(thing):
        yield f"class {name}({', '.join(base.__name__ for base in thing.__bases__)})"
        yield from _members(name, thing)
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
