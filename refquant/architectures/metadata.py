"""Reading single facts out of somebody else's metadata, with an error that names the key.

Every reader takes the mapping, the key and the document's name, and raises FormatError
E_ARCH_METADATA if the key is missing or holds another type. A `default` is the other format's own
documented default; JSON's null counts as absent.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from refquant.errors import FormatError, UnsupportedError

__all__ = ["count_tokens", "read_count", "read_flag", "read_number"]

_T = TypeVar("_T")


def read_count(
    metadata: Mapping[str, object], key: str, document: str, *, default: int | None = None
) -> int:
    """A positive integer."""
    value = metadata.get(key)
    if value is None:
        return _default(default, key, document)
    if isinstance(value, Sequence) and not isinstance(value, str):
        raise UnsupportedError(
            f"reading {document}: {key} holds one value for each layer; "
            "only models whose layers are alike can run"
        )
    if type(value) is not int or value < 1:
        raise _ill_typed(key, document, value, "a positive integer")
    return value


def read_number(
    metadata: Mapping[str, object], key: str, document: str, *, default: float | None = None
) -> float:
    """A real number; JSON writers may have dropped its decimal point."""
    value = metadata.get(key)
    if value is None:
        return _default(default, key, document)
    if type(value) is not float and type(value) is not int:
        raise _ill_typed(key, document, value, "a number")
    return float(value)


def read_flag(
    metadata: Mapping[str, object], key: str, document: str, *, default: bool | None = None
) -> bool:
    """True or false."""
    value = metadata.get(key)
    if value is None:
        return _default(default, key, document)
    if type(value) is not bool:
        raise _ill_typed(key, document, value, "true or false")
    return value


def count_tokens(metadata: Mapping[str, object]) -> int | None:
    """How many tokens the vocabulary inside a GGUF file has; None where there is none."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    return len(tokens) if isinstance(tokens, Sequence) and tokens else None


def _default(default: _T | None, key: str, document: str) -> _T:
    if default is None:
        raise FormatError("E_ARCH_METADATA", f"the key {key} is missing", where=document)
    return default


def _ill_typed(key: str, document: str, value: object, expected: str) -> FormatError:
    found = repr(value)[:80]
    return FormatError("E_ARCH_METADATA", f"{key} is {found}, expected {expected}", where=document)
