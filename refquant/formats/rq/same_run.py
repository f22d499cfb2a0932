"""What two runs of a writer differ in, told by the headers that they give their files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from refquant import mp1
from refquant.errors import FormatError, UsageError

__all__ = ["differences", "other_run", "record_of", "record_told"]

_DIGITS: Final = 12
"""Of a digest that are shown: enough to tell files apart."""

_MOST: Final = 4
"""Differences that are listed."""


def record_of(header: bytes) -> Mapping[str, Any]:
    """The provenance that a header records; empty if it has none."""
    try:
        found = mp1.decode(header)
    except FormatError:
        return {}
    info = found.get("info") if isinstance(found, dict) else None
    record = info.get("provenance") if isinstance(info, dict) else None
    return record if isinstance(record, dict) else {}


def record_told(text: str) -> Mapping[str, Any]:
    """A record that was noted as the hex digits of its canonical bytes."""
    try:
        found = mp1.decode(bytes.fromhex(text))
    except (FormatError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def other_run(target: Path, found: list[str]) -> UsageError:
    """The refusal to go on with the work of another run."""
    listed = "; ".join(found[:_MOST])
    return UsageError(
        f"cannot resume {target}: the unfinished work is of another run: {listed}. "
        "Repeat the command of that run, or leave --resume out to begin anew"
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two records of provenance, in words."""
    found = [*_sources(before, now)]
    for key, title in (("recipe", "recipe"), ("calibration", "calibration"), ("tool", "version")):
        for place, old, new in _changes(before.get(key), now.get(key), "$"):
            found.append(f"{title} {place} was {_shown(old)}, now it is {_shown(new)}")
    form = "its form is another: compression, shards, or what the model says of itself"
    return found or [form]


def _sources(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = (_digests(one.get("sources")) for one in (before, now))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield (
                f"source {name} had SHA-256 {_short(old.get(name))}, now {_short(new.get(name))}"
            )


def _digests(sources: Any) -> dict[str, str]:
    listed = sources if isinstance(sources, list) else []
    return {str(one.get("name")): str(one.get("sha256")) for one in listed if isinstance(one, dict)}


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:_DIGITS]}..."


def _shown(value: Any) -> str:
    text = "left out" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changes(before: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Every place where two documents differ, and what stands there."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(key), now.get(key), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield place, f"{len(before)} entries", f"{len(now)} entries"
        for index, pair in enumerate(zip(before, now, strict=False)):
            yield from _changes(*pair, f"{place}[{index}]")
    elif before != now:
        yield place, before, now
