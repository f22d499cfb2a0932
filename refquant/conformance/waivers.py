"""`expect.toml`: failures that an engine's authors know, each with a link, some with an end."""

import datetime as dt
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from refquant.conformance.results import BAD, CaseResult
from refquant.errors import FormatError

__all__ = ["Waiver", "apply", "read_waivers", "skipped"]


class Waiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected of the cases that `id` matches.

    `fail`: that they fail in whatever way; one that passes fails the run, and so does one that was
    not run because the engine was given up. `skip`: that they are not run at all.
    """

    id: str
    link: Annotated[str, msgspec.Meta(pattern="^https?://[^ ]+$")]
    expect: Literal["fail", "skip"] = "fail"
    expires: dt.date | None = None
    reason: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    case: tuple[Waiver, ...] = ()


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The entries of a file; FormatError where one has no link or is not as it should be."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).case
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise FormatError("E_WAIVERS", str(error), path=str(path)) from error


def skipped(waivers: Sequence[Waiver], name: str) -> Waiver | None:
    """The entry by which a case is not to be run."""
    return next((w for w in waivers if w.expect == "skip" and fnmatchcase(name, w.id)), None)


def apply(
    waivers: Sequence[Waiver], results: Sequence[CaseResult], today: dt.date
) -> tuple[list[CaseResult], list[str]]:
    """The results with expected failures turned to `xfail`, and what is wrong with the entries."""
    problems = [f"the waiver of {w.id!r} ended on {w.expires}" for w in waivers if _over(w, today)]
    matched: set[int] = set()
    changed = []
    for one in results:
        number = next((k for k, w in enumerate(waivers) if fnmatchcase(one.id, w.id)), None)
        if number is None:
            changed.append(one)
            continue
        matched.add(number)
        changed.append(_expected(waivers[number], one, today))
    problems += [
        f"the waiver of {w.id!r} matches no case that was selected"
        for k, w in enumerate(waivers)
        if k not in matched
    ]
    return changed, problems


def _expected(waiver: Waiver, one: CaseResult, today: dt.date) -> CaseResult:
    if waiver.expect == "skip" or one.result == "unsupported":
        return one
    if one.result == "pass":
        return msgspec.structs.replace(
            one, result="xpass", link=waiver.link, detail="it passes; remove the waiver"
        )
    if one.result in BAD and one.result != "not-run" and not _over(waiver, today):
        return msgspec.structs.replace(one, result="xfail", link=waiver.link)
    return one


def _over(waiver: Waiver, today: dt.date) -> bool:
    return waiver.expires is not None and waiver.expires < today
