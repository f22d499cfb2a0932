"""Where a file's content came from, as data that are the same on every machine."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from refquant import mp1
from refquant.errors import ConformanceError, UnsupportedError

__all__ = [
    "ENCODER_PROFILE",
    "Meter",
    "carried_info",
    "check_source",
    "provenance",
    "source_bytes",
    "source_files",
    "tool_version",
]

ENCODER_PROFILE = "stated-1"
"""Which encoder of a scheme was used: the one that its page states. A change of any of them that
changes bytes is a new profile, so that a file made by another one is not taken for damaged."""

_CHUNK = 1 << 18


class Meter(Protocol):
    """Counts bytes that were hashed."""

    def start(self, label: str, /) -> None:
        """Name the file that is being hashed."""

    def advance(self, count: int, /) -> None:
        """Add finished bytes."""


_REPLACED = frozenset(
    {"provenance", "labels", "compression", "format", "tensor_types"}
    | {"architecture_missing", "tokenizer_missing"}
)
"""What a reader says about the file it read, which is not true of the file that is written."""

_OF_THE_MODEL = ("base_model", "licence")
"""What a source's own record says about the model, whoever wrote it into a file."""


def provenance(
    source: Path, recipe: Mapping[str, object], earlier: object, meter: Meter
) -> dict[str, Any]:
    """The record of one step: what was read, what was asked for, by which version and encoders.

    `earlier` is the record that the source carried; its steps follow in `earlier`, latest first.
    """
    record: dict[str, Any] = {
        "sources": [_facts(path, meter) for path in source_files(source)],
        "recipe": dict(recipe),
        "tool": {"refquant": tool_version(), "encoder": ENCODER_PROFILE},
    }
    if isinstance(earlier, Mapping):
        record |= {
            key: earlier[key]
            for key in _OF_THE_MODEL
            if key in earlier and _can_spell(earlier[key])
        }
    if isinstance(earlier, Mapping) and "recipe" in earlier:
        older = earlier.get("earlier")
        last = {key: value for key, value in earlier.items() if key != "earlier"}
        record["earlier"] = [last, *(older if isinstance(older, list) else [])]
    return record


def check_source(source: Path, record: object, meter: Meter) -> None:
    """Refuse a source whose files are not those that a record lists.

    Raises ConformanceError for other files, UnsupportedError for a record without digests, or one
    of encoders that this version does not have.
    """
    listed = record.get("sources") if isinstance(record, Mapping) else None
    tool = record.get("tool") if isinstance(record, Mapping) else None
    expected = {
        str(one.get("sha256")): str(one.get("name"))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, Mapping) and "sha256" in one
    }
    if not expected:
        raise UnsupportedError("the file does not record the digests of what it was made from")
    profile = tool.get("encoder", ENCODER_PROFILE) if isinstance(tool, Mapping) else None
    if profile != ENCODER_PROFILE:
        raise UnsupportedError(
            f"the file was made by the encoders {profile!r}, this version has {ENCODER_PROFILE!r}"
        )
    found = {_facts(path, meter)["sha256"] for path in source_files(source)}
    missing = sorted(name for digest, name in expected.items() if digest not in found)
    if missing:
        raise ConformanceError(
            f"{source} is not what the file was made from: no file there has the recorded SHA-256 "
            f"of {', '.join(missing)}"
        )


def carried_info(info: Mapping[str, object]) -> dict[str, object]:
    """What a source says about the model (name, licence), as far as `.rq` can spell it."""
    kept = _spellable({key: value for key, value in info.items() if key not in _REPLACED})
    return kept if isinstance(kept, dict) else {}


def source_bytes(source: Path) -> int:
    """How many bytes `provenance` will hash."""
    return sum(path.stat().st_size for path in source_files(source))


def tool_version() -> str:
    """The version of this installation, as it is recorded."""
    try:
        return version("refquant")
    except PackageNotFoundError:
        return "0+source"


def source_files(source: Path) -> list[Path]:
    """The file itself, or the files of a folder that say what the model is, in order of name."""
    if not source.is_dir():
        return [source]
    endings = (".safetensors", ".json", ".jinja")
    return sorted(path for path in source.iterdir() if path.suffix in endings and path.is_file())


def _facts(path: Path, meter: Meter) -> dict[str, Any]:
    meter.start(path.name)
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            meter.advance(len(chunk))
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


def _spellable(value: object) -> object:
    """The value without the entries whose key or content RQ-MP1 has no spelling for."""
    if isinstance(value, Mapping):
        entries = {key: _spellable(entry) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if _can_spell({key: entry})}
    return value


def _can_spell(value: object) -> bool:
    try:
        mp1.encode(value)
    except ValueError:
        return False
    return True
