"""JSON as the suite's files have it (S-1 of `conformance/SPEC.md`): no floats, no key twice."""

import json
from typing import Any, TypeVar

import msgspec

from refquant.errors import FormatError

__all__ = ["converted"]

Document = TypeVar("Document")


def converted(content: bytes, kind: type[Document], path: str) -> Document:
    """A document of a type, from JSON without floats and without a key twice (S-1)."""
    try:
        data = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
        return msgspec.convert(data, kind)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise FormatError("E_SUITE", str(error), path=path) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object of the JSON")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"a float stands in the JSON: {text}")
