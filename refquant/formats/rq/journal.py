"""What a writer of several files has done so far, so that the next one can undo or finish it.

A set of shards and its root cannot appear in one step. So the writer notes each shard's name in a
journal before the shard gets that name, and in the end which root will complete the set and which
shards of the file it replaces are then of no use. If it dies, the next writer in the folder reads
the journal: with that root in place the old shards go, without it the new ones.

The journal is a temporary file like any other, locked while its writer lives.
"""

import os
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from refquant.formats.rq.preamble import MAGIC, PREAMBLE_BYTES, Preamble
from refquant.formats.rq.split import is_shard_of

__all__ = ["Journal", "finish", "is_journal", "notes_of", "root_of", "undo"]

_FIRST_LINE: Final = b"refquant shard set 1\n"
_LONGEST: Final = 4 << 20
"""Bytes of a journal that are read: 4096 shards, new and old, take less."""


class Journal:
    """Notes of one writer in its open, locked file."""

    def __init__(
        self,
        file: IO[bytes],
        target: Path,
        facts: Mapping[str, str] | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        """Begin it, with `facts` beside the target's name, or go on with a dead writer's."""
        self._file = file
        if goes_on:
            file.seek(0)
            # A line that was torn is cut off.
            end = file.read(_LONGEST).rfind(b"\n") + 1
            file.seek(end)
            file.truncate()
            return
        lines = [f"target {target.name}\n", *(f"{k} {v}\n" for k, v in (facts or {}).items())]
        self._write(_FIRST_LINE + "".join(lines).encode())

    def will_create(self, name: str) -> None:
        """Note a shard that is about to get its name, under which there is nothing yet."""
        self._write(f"new {name}\n".encode())

    def will_commit(self, root: bytes, outdated: list[str]) -> None:
        """Note the root that is about to appear, and the shards that are useless after it."""
        lines = [f"root {root.hex()}\n", *(f"old {name}\n" for name in outdated)]
        self._write("".join(lines).encode())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())


def is_journal(path: str | os.PathLike[str]) -> bool:
    """Whether a temporary file is a journal."""
    with Path(path).open("rb") as file:
        return file.read(len(_FIRST_LINE)) == _FIRST_LINE


def undo(path: str | os.PathLike[str]) -> None:
    """Remove the shards that a dead writer left without use, by its journal."""
    _remove(Path(path), ("new", "old"))


def finish(path: str | os.PathLike[str]) -> None:
    """Remove the shards that a dead writer's root has replaced, if it was in its place."""
    _remove(Path(path), ("old",))


def _remove(path: Path, kinds: Container[str]) -> None:
    """Remove shards of these kinds: new ones where there is no root, else old ones."""
    notes = list(notes_of(path))
    target = path.parent / next((name for kind, name in notes if kind == "target"), "")
    useless = "old" if ("root", root_of(target)) in notes else "new"
    for kind, name in notes:
        # A journal that somebody forged can name nothing but shards of its own target.
        if kind == useless and kind in kinds and is_shard_of(target, name):
            with suppress(OSError):
                (path.parent / name).unlink()


def notes_of(path: Path) -> Iterator[tuple[str, str]]:
    """The kind and content of each line that was written whole."""
    with path.open("rb") as file:
        text = file.read(_LONGEST).decode("utf-8", "replace")
    for line in text.splitlines(keepends=True)[1:]:
        if line.endswith("\n"):
            kind, _, name = line.rstrip("\n").partition(" ")
            if "/" not in name and "\\" not in name:
                yield kind, name


def root_of(path: Path) -> str:
    """The root digest that a file's preamble has, in hex; empty if it is no `.rq` file."""
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE_BYTES)
    except OSError:
        return ""
    is_rq = len(start) == PREAMBLE_BYTES and start.startswith(MAGIC)
    return Preamble.unpack(start).root.hex() if is_rq else ""
