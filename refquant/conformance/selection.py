"""Where the suite is, and which of its cases are asked for."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

import msgspec

import refquant
from refquant.conformance.named_files import damaged_files
from refquant.conformance.packs import Case, Pack, PackRow, Suite, read_smoke, read_suite
from refquant.errors import FormatError, UsageError

__all__ = ["Selection", "find_case", "find_suite", "select"]


class Selection(msgspec.Struct, frozen=True):
    """Packs with the cases that were asked for, and how many cases there have to be."""

    suite: Suite
    sha256: str
    packs: tuple[Pack, ...]
    expected: int
    partial: bool
    root: Path
    smoke: bool = False


def find_suite(folder: str | None) -> Path:
    """The folder that holds `suite.json`: as given, of this checkout, or of this installation."""
    given = folder or os.environ.get("REFQUANT_CONFORMANCE")
    package = Path(refquant.__file__).parent
    places = [Path(given)] if given else [package.parent / "conformance", package / "suite"]
    for place in places:
        if (place / "suite.json").is_file():
            return place
    raise UsageError(
        f"no suite.json in {' or '.join(map(str, places))}; give the suite's folder with --suite"
    )


def select(
    folder: Path, patterns: Sequence[str] = (), *, smoke: bool = False, feature: str | None = None
) -> Selection:
    """The cases whose id or pack matches one of the patterns, or all of them.

    UsageError where a pattern matches nothing: a run of no cases would pass. FormatError where the
    suite is damaged.
    """
    suite, packs = read_smoke(folder) if smoke else read_suite(folder)
    rows: Sequence[PackRow] = [suite.smoke_pack] if smoke and suite.smoke_pack else suite.packs
    expected = sum(row.cases for row in rows)
    partial = bool(patterns) or feature is not None
    if partial:
        for pattern in patterns:
            if not any(_matches(pattern, pack, case) for pack in packs for case in pack.cases):
                names = [pack.pack for pack in packs]
                names += [case.id for pack in packs for case in pack.cases]
                raise UsageError(
                    f"no case and no pack is called {pattern!r}{_near(pattern, names)}"
                )
        packs = tuple(_kept(pack, patterns, feature) for pack in packs)
        packs = tuple(pack for pack in packs if pack.cases)
        expected = sum(len(pack.cases) for pack in packs)
        if not expected:
            which = f" needs the feature {feature!r}" if feature else " is left of the selection"
            raise UsageError(f"no case{which}")
    _check_files(folder, packs)
    digest = sha256((folder / "suite.json").read_bytes()).hexdigest()
    return Selection(suite, digest, packs, expected, partial, folder, smoke)


def _check_files(folder: Path, packs: Sequence[Pack]) -> None:
    if damaged := damaged_files(folder, packs):
        message = "it is not the file that its cases were made for; fetch the suite again"
        raise FormatError("E_SUITE", message, path=str(folder / damaged[0]))


def find_case(packs: Sequence[Pack], name: str) -> tuple[Pack, Case]:
    """The case of an id, with or without the digits of its digest behind `@`."""
    wanted, _, digest = name.partition("@")
    for pack in packs:
        for case in pack.cases:
            if case.id == wanted:
                if not case.digest.startswith(digest):
                    raise UsageError(f"{wanted} is {case.digest[:8]} in this suite, not {digest}")
                return pack, case
    near = _near(wanted, [case.id for pack in packs for case in pack.cases])
    raise UsageError(f"no case is called {wanted!r}{near or LISTED}")


LISTED = " (`refquant conformance list` shows them)"


def _near(wanted: str, names: Sequence[str]) -> str:
    """What was probably meant, as the end of a message."""
    near = get_close_matches(wanted, names, n=3, cutoff=0.75)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _kept(pack: Pack, patterns: Sequence[str], feature: str | None) -> Pack:
    cases = tuple(
        case
        for case in pack.cases
        if (not patterns or any(_matches(pattern, pack, case) for pattern in patterns))
        and (feature is None or any(fnmatchcase(one, feature) for one in case.features))
    )
    return msgspec.structs.replace(pack, cases=cases)


def _matches(pattern: str, pack: Pack, case: Case) -> bool:
    return fnmatchcase(case.id, pattern) or fnmatchcase(pack.pack, pattern)
