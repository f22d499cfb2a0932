"""JSON as a file format has to read it: no repeated keys, no NaN, no unbounded nesting."""

import json
import re
from collections import Counter
from typing import Final, NoReturn

from refquant.errors import FormatError

__all__ = ["parse_json", "parse_object"]

# An escape such as \ud83d; two of them in the right order are one character.
SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, *, what: str) -> object:
    """The value of a JSON text; FormatError E_JSON says what is wrong and where.

    Two parsers disagree about a repeated key, so none may be repeated; NaN and Infinity are not
    JSON. `what` names the text in errors.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("E_JSON", f"{what} is not UTF-8", offset=error.start) from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if SURROGATE.search(text):
            _refuse_lone_surrogates(value)
        return value
    except json.JSONDecodeError as error:
        raise FormatError("E_JSON", f"{what} is not JSON: {error.msg}", offset=error.pos) from error
    except RecursionError as error:
        raise FormatError("E_JSON", f"{what} nests too deeply") from error
    except ValueError as error:
        raise FormatError("E_JSON", f"{what}: {error}") from error


def parse_object(data: bytes, *, what: str) -> dict[str, object]:
    """The same for a text that has to be an object."""
    value = parse_json(data, what=what)
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise FormatError("E_JSON", f"{what} is a JSON {kind}, expected an object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r:.100} stands twice in one object")
    return result


def _refuse_lone_surrogates(value: object) -> None:
    """Half of a pair is a code point that UTF-8 cannot write, so no text can be made of it."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
