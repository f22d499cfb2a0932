"""JSON with one meaning: what two parsers could read in two ways is refused.

RFC 8259 leaves it to the parser what a key that stands twice means, how deep a text may nest and
what half of a surrogate pair is; files of models travel between many parsers.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Final

from refquant.errors import FormatError

__all__ = ["MOST_DEPTH", "parse_json", "parse_object"]

MOST_DEPTH: Final = 64
"""Arrays and objects that may be open at once."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STRINGS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")
_MARKS: Final = re.compile(r'"[^"\\]*(?:\\(?:.|\Z)[^"\\]*)*(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes, where: str, *, integer: Callable[[str], int | float] = int) -> object:
    """The value of a JSON text under chapter 8's rules J-1 to J-5; FormatError E_JSON_* if none.

    `where` names the text in errors. `integer` makes a number of the digits of one without
    fraction and exponent; a ValueError of it is one of the text.
    """
    if data.startswith(_BYTE_ORDER_MARK):
        raise FormatError("E_JSON_UTF8", "the text begins with a byte order mark", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("E_JSON_UTF8", f"not UTF-8 at byte {error.start}", where=where) from error
    _check_depth(text, where)
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            repeated.append(Counter(key for key, _ in pairs).most_common(1)[0][0])
        return found

    try:
        value: object = json.loads(
            text, object_pairs_hook=collect, parse_constant=_refuse, parse_int=integer
        )
    except ValueError as error:
        raise FormatError("E_JSON_SYNTAX", f"not JSON: {error}", where=where) from error
    if "\\u" in text and _has_surrogate(value):
        message = "an escape stands for half of a surrogate pair"
        raise FormatError("E_JSON_ESCAPE", message, where=where)
    if repeated:
        message = f"the key {repeated[0][:80]!r} stands in one object twice"
        raise FormatError("E_JSON_DUP", message, where=where)
    return value


def parse_object(data: bytes, where: str) -> dict[str, object]:
    """The same for a text that has to be an object (E_JSON for another value)."""
    value = parse_json(data, where)
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise FormatError("E_JSON", f"a JSON {kind}, expected an object", where=where)
    return value


def _check_depth(text: str, where: str) -> None:
    if _is_flat(text):
        return
    depth = 0
    for found in _MARKS.finditer(text):
        mark = found[0]
        if mark in "[{":
            depth += 1
            if depth > MOST_DEPTH:
                message = f"more than {MOST_DEPTH} arrays and objects are open"
                raise FormatError("E_JSON_DEPTH", message, where=where)
        elif mark in "]}":
            depth = max(depth - 1, 0)


def _is_flat(text: str) -> bool:
    """Whether brackets pair up at no more than the depth that is allowed, found out quickly.

    Taking away arrays and then objects with nothing inside opens at most two levels at a time.
    """
    brackets = _NO_BRACKETS.sub("", _STRINGS.sub("", text))
    for _ in range(MOST_DEPTH // 2):
        brackets = brackets.replace("[]", "").replace("{}", "")
        if not brackets:
            return True
    return False


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number of JSON")


def _has_surrogate(value: object) -> bool:
    """Whether some string below holds half of a surrogate pair."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            if _SURROGATE.search(found):
                return True
        elif isinstance(found, list):
            pending += found
        elif isinstance(found, dict):
            pending += [*found.keys(), *found.values()]
    return False
