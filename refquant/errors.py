"""Every exception that refquant raises on purpose, and the exit status each one becomes.

A message says what was being done, what was found, what was expected and where; the same facts
are attributes, so that a caller never has to parse a sentence. Exit statuses: 0 ok, 1 a comparison
or gate failed, 2 usage, 3 invalid or corrupt file, 4 unsupported, 5 would be lossy and was refused,
6 resource limit, 130 interrupted.
"""

from typing import ClassVar

__all__ = [
    "ConformanceError",
    "FormatError",
    "LimitError",
    "LossError",
    "RefquantError",
    "SchemeError",
    "UnknownSchemeError",
    "UnsupportedError",
    "UsageError",
]


class RefquantError(Exception):
    """The base of everything that refquant refuses on purpose."""

    exit_status: ClassVar[int] = 1


class ConformanceError(RefquantError, AssertionError):
    """An implementation differs from the definition, or a quality gate failed."""

    exit_status: ClassVar[int] = 1


class UsageError(RefquantError, ValueError):
    """A request that cannot be meant: a bad option, name, parameter or combination."""

    exit_status: ClassVar[int] = 2


class UnknownSchemeError(UsageError, LookupError):
    """A scheme name that is in no table.

    `name` is what was asked for; `suggestions` are the nearest known names.
    """

    def __init__(self, name: str, suggestions: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
        super().__init__(f"unknown scheme {name!r}{hint} (`refquant schemes` lists them all)")
        self.name = name
        self.suggestions = suggestions


class SchemeError(RefquantError, ValueError):
    """A tensor does not fit a scheme: shape, dtype or values.

    `scheme` is the scheme's name.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str, *, scheme: str = "") -> None:
        super().__init__(f"{scheme}: {message}" if scheme else message)
        self.scheme = scheme


class FormatError(RefquantError, ValueError):
    """Bytes break a law of their format.

    `code` names the law (`E_MAGIC`, ...), `path` the file, `offset` the byte where it shows, and
    `where` the place in the document (`$.core.tensors[3].shape`) or the tensor's name.
    """

    exit_status: ClassVar[int] = 3

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: str = "",
        offset: int | None = None,
        where: str = "",
    ) -> None:
        places = [path, where, "" if offset is None else f"byte {offset}"]
        place = ", ".join(part for part in places if part)
        super().__init__(f"{message} ({place}) [{code}]" if place else f"{message} [{code}]")
        self.code = code
        self.message = message
        self.path = path
        self.offset = offset
        self.where = where

    def at(self, path: str) -> "FormatError":
        """The same error with the file's path, for the boundary that knows it."""
        return type(self)(self.code, self.message, path=path, offset=self.offset, where=self.where)


class UnsupportedError(RefquantError):
    """Something valid that this version or this installation cannot handle.

    `code` names the missing feature where a format defines one (`E_FEATURE`, ...).
    """

    exit_status: ClassVar[int] = 4

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(f"{message} [{code}]" if code else message)
        self.code = code


class LossError(RefquantError):
    """The request would lose information and was not allowed to."""

    exit_status: ClassVar[int] = 5


class LimitError(RefquantError):
    """A resource limit stopped the work before it could do harm."""

    exit_status: ClassVar[int] = 6
