"""A root and its shards, which appear together or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from refquant.errors import RefquantError
from refquant.formats.rq.atomic import check_target, locked_file, named_later, remove_abandoned
from refquant.formats.rq.contents import read_header
from refquant.formats.rq.journal import Journal
from refquant.formats.rq.preamble import FEATURE_SHARDS, MAGIC, PREAMBLE_BYTES, Preamble
from refquant.formats.rq.split import is_shard_of

__all__ = ["ShardSet", "listed_shards", "shard_set", "stored_bytes"]


class ShardSet:
    """The files that are being written for one target."""

    def __init__(self, target: Path, journal: Journal) -> None:
        self.target = target
        self.created: list[str] = []
        self._names: set[str] = set()
        self._outdated: list[str] = []
        self._journal = journal

    @contextmanager
    def shard(self) -> Iterator[tuple[IO[bytes], Callable[[str], None]]]:
        """A new file, and the function that is told its name once that is known."""
        names: list[str] = []

        def destination() -> Path:
            (name,) = names
            place = self.target.parent / name
            if not place.exists():
                self._journal.will_create(name)
                self.created.append(name)
            # What is there has the same digest in its name, so at worst it is mended.
            self._names.add(name)
            return place

        with named_later(self.target, destination) as file:
            yield file, names.append

    def take(self, file: Path, name: str) -> None:
        """Give a shard that was written elsewhere in the folder its name."""
        place = self.target.parent / name
        if not place.exists():
            self._journal.will_create(name)
            self.created.append(name)
        self._names.add(name)
        file.replace(place)

    def keep(self, name: str) -> None:
        """Take a shard that has its name into the set; the journal lists it already."""
        self.created.append(name)
        self._names.add(name)

    @contextmanager
    def root(self) -> Iterator[IO[bytes]]:
        """The target itself; `commit` is called before its block ends."""
        with named_later(self.target, lambda: self.target) as file:
            yield file

    def commit(self, root: bytes) -> None:
        """The root is complete: what the target's old shards are for ends when it appears."""
        mine = {name for name in listed_shards(self.target) if is_shard_of(self.target, name)}
        unused = mine - self._names
        self._outdated = sorted(unused - _listed_by_others(self.target)) if unused else []
        self._journal.will_commit(root, self._outdated)

    def undo(self) -> None:
        """Remove what has appeared without its root."""
        _unlink(self.target.parent, self.created)

    def finish(self) -> None:
        """Remove what the root has replaced."""
        _unlink(self.target.parent, self._outdated)


@contextmanager
def shard_set(target: Path) -> Iterator[ShardSet]:
    """Write a set: any number of shards, then the root.

    On any exception the shards that have appeared are removed and what stood at `target` is as
    it was, with its own shards. What a killed writer leaves, the next one in the folder removes.
    """
    check_target(target)
    remove_abandoned(target.parent)
    with locked_file(target) as (file, temporary):
        try:
            files = ShardSet(target, Journal(file, target))
            try:
                yield files
            except BaseException:
                files.undo()
                raise
            files.finish()
        finally:
            with suppress(OSError):
                if os.name == "nt":
                    file.close()
                temporary.unlink()


def listed_shards(path: Path) -> tuple[str, ...]:
    """The names of the shards that an `.rq` file lists; none if it is no such file."""
    try:
        if not path.is_file() or not _has_shard_bit(path):
            return ()
        header = read_header(path, use_mmap=False).header
    except (RefquantError, OSError):
        return ()
    return () if header is None else tuple(shard.name for shard in header.shards)


def _has_shard_bit(path: Path) -> bool:
    """Whether a file's first bytes say that it is sharded; few are, and most headers are long."""
    with path.open("rb") as file:
        start = file.read(PREAMBLE_BYTES)
    if len(start) < PREAMBLE_BYTES:
        return False
    preamble = Preamble.unpack(start)
    return preamble.magic == MAGIC and bool(preamble.features & FEATURE_SHARDS)


def stored_bytes(path: Path) -> int:
    """The bytes of an `.rq` file and of the shards that it lists and has beside it."""
    shards = (path.parent / name for name in listed_shards(path))
    return sum(one.stat().st_size for one in (path, *shards) if one.is_file())


def _listed_by_others(target: Path) -> set[str]:
    """Shards that another root in the folder needs, as a copy of the target does."""
    others = (path for path in target.parent.glob("*.rq") if path.name != target.name)
    return {name for path in others for name in listed_shards(path)}


def _unlink(folder: Path, names: list[str]) -> None:
    for name in names:
        with suppress(OSError):
            (folder / name).unlink()
