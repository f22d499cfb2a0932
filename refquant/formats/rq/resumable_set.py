"""A root and its shards, written so that killed work can be gone on with, anywhere and in parallel.

Under the name of unfinished work on the root lies the journal that `shard_set.py` describes; it
begins with what the set is made of. Each shard is filled beside it, by this process or another,
and gets its own name when it is complete; then the journal lists it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO

from refquant import mp1
from refquant.errors import LimitError
from refquant.formats.rq.journal import Journal, finish, is_journal, notes_of, root_of
from refquant.formats.rq.plan import (
    SHARD_HEADER,
    Outline,
    Placed,
    Plan,
    PlannedTensor,
    cut,
    outline,
)
from refquant.formats.rq.preamble import FEATURE_SHARDS
from refquant.formats.rq.records import Pieces
from refquant.formats.rq.same_run import differences, other_run, record_of, record_told
from refquant.formats.rq.segments import CODEC_ZSTD
from refquant.formats.rq.shard_set import ShardSet, listed_shards
from refquant.formats.rq.shards import ShardRecord
from refquant.formats.rq.split import check_stem, shard_name, shard_number
from refquant.formats.rq.unfinished import (
    always,
    fill,
    is_complete,
    is_interruption,
    kept_parts,
    parts_of,
    unfinished_file,
    unfinished_path,
)
from refquant.formats.rq.write import (
    Progress,
    begun_again,
    compression_info,
    write_root,
    write_single,
)

__all__ = ["FilledShard", "SetJob", "ShardOrder", "ShardRunner", "fill_shard"]

Group = tuple[PlannedTensor, ...]


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """A shard that is to be filled: whose it is, its number, and the names of its tensors."""

    target: Path
    number: int
    names: tuple[str, ...]
    level: int | None


@dataclass(frozen=True, slots=True)
class FilledShard:
    """A shard that lies complete under the name of unfinished work."""

    number: int
    root: bytes
    length: int
    has_frames: bool


ShardRunner = Callable[[Sequence[ShardOrder]], Iterable[FilledShard]]
"""Has shards filled, anywhere and in any order; `fill_shard` is what fills one."""


def fill_shard(order: ShardOrder, tensors: Sequence[PlannedTensor]) -> FilledShard:
    """Fill one shard, going on with what is there of it. Any process may do it.

    A cluster that lost a result has its work done again, perhaps when nobody waits for it any more;
    then the set's journal is gone, or lists the shard, and nothing is left behind.
    """
    path = unfinished_path(order.target, order.number)
    frames = False
    if not _is_wanted(order):
        raise LimitError(f"shard {order.number} of {order.target} is complete; nobody waits for it")
    with unfinished_file(path, keeps=is_interruption) as file:

        def attempt(level: int | None) -> bytes | None:
            nonlocal frames
            writer = fill(file, _content(tensors, level), level, None)
            frames = writer.has_frames
            return None if level is not None and not frames else writer.finish()

        root = begun_again(file, order.level, attempt)
        file.flush()
        os.fsync(file.fileno())
        found = FilledShard(order.number, root, file.seek(0, os.SEEK_END), frames)
        if not _is_wanted(order):
            path.unlink()
        return found


def _is_wanted(order: ShardOrder) -> bool:
    """Whether the set's journal is there and lists no such shard that has its name.

    The journal names a shard before it is renamed, so a kill between the two leaves a name alone.
    """
    try:
        notes = [*notes_of(unfinished_path(order.target))]
    except OSError:
        return False
    named = [name for kind, name in notes if kind == "new"]
    listed = (name for name in named if (order.target.parent / name).is_file())
    return order.number not in {shard_number(order.target, name) for name in listed}


def _content(tensors: Sequence[PlannedTensor], level: int | None) -> Outline:
    segments = 1 + sum(map(len, _numbers(tensors, level).values()))
    alone = outline(Plan(tuple(tensors)), None)
    return replace(alone, header=SHARD_HEADER, segments=segments, features=FEATURE_SHARDS)


def _numbers(
    tensors: Sequence[PlannedTensor], level: int | None
) -> dict[tuple[str, str], tuple[int, ...]]:
    """The segments of each plane in a shard of these tensors."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    first = 1
    for tensor in tensors:
        for plane in sorted(tensor.layout.planes):
            size = tensor.layout.plane_nbytes(plane, tensor.shape)
            count = len(cut(size, compressed=level is not None))
            found[tensor.name, plane] = tuple(range(first, first + count))
            first += count
    return found


@dataclass(frozen=True, slots=True)
class SetJob:
    """One set on its way; without groups a single file, which replaces a set."""

    target: Path
    plan: Plan
    level: int | None
    progress: Progress | None
    resume: bool
    groups: tuple[Group, ...]
    runner: ShardRunner | None

    def write(self) -> bytes:
        """Shards first, the root last; the root's digest."""
        if self.groups:
            check_stem(self.target)
        path = unfinished_path(self.target)
        if self.resume and not path.exists() and (found := self._found()):
            return found
        if path.exists():
            # Of another run it stays as it is, for that run.
            with unfinished_file(path, keeps=always) as file:
                self._check(path)
        with unfinished_file(path, keeps=self._keeps) as file:
            journal, done = self._journal(file, path)
            files = ShardSet(self.target, journal)
            try:
                root = self._complete(files, done)
            except BaseException as error:
                if not self._keeps(error):
                    files.undo()
                    for part in parts_of(self.target):
                        part.unlink(missing_ok=True)
                raise
            files.finish()
            # The journal goes first: who does not find it removes its own shard.
            for part in [path, *parts_of(self.target)]:
                part.unlink(missing_ok=True)
        return root

    def _keeps(self, error: BaseException) -> bool:
        return self.resume and is_interruption(error)

    def _header(self) -> bytes:
        """That of the same model in one file, which says everything about the run."""
        info = None if self.level is None else compression_info(self.level)
        return outline(self.plan, info).header

    def _facts(self) -> dict[str, str]:
        """What the journal begins with: the set's digest, and the record of the run."""
        header = self._header()
        names = [[tensor.name for tensor in group] for group in self.groups]
        plan = sha256(header + repr(names).encode()).hexdigest()
        return {"plan": plan, "run": mp1.encode(dict(record_of(header))).hex()}

    def _check(self, path: Path) -> None:
        """Refuse to go on with unfinished work of another run."""
        if path.stat().st_size and not is_journal(path):
            raise other_run(self.target, ["it is not split into shards, and this one is"])
        notes, facts = list(notes_of(path)), self._facts()
        if notes and ("plan", facts["plan"]) not in notes:
            before = next((text for kind, text in notes if kind == "run"), "")
            raise other_run(
                self.target, differences(record_told(before), record_told(facts["run"]))
            )

    def _journal(self, file: IO[bytes], path: Path) -> tuple[Journal, dict[int, FilledShard]]:
        """The journal, begun or gone on with, and the shards that are complete."""
        if file.seek(0, os.SEEK_END) == 0:
            return Journal(file, self.target, self._facts()), {}
        finish(path)
        done = {}
        for kind, name in notes_of(path):
            if kind == "new" and (shard := self._complete_shard(name)) is not None:
                done[shard.number] = shard
        return Journal(file, self.target, goes_on=True), done

    def _complete_shard(self, name: str) -> FilledShard | None:
        """A shard that has its name already, if every byte of it is right."""
        number = shard_number(self.target, name)
        path = self.target.parent / name
        if not 1 <= number <= len(self.groups) or not path.is_file():
            return None
        root = bytes.fromhex(root_of(path))
        group = self.groups[number - 1]
        with path.open("rb") as file:
            for level in dict.fromkeys((self.level, None)):
                kept = kept_parts(file, _content(group, level), compressed=level is not None)
                if kept.tensors == len(group) and root:
                    frames = any(entry.codec == CODEC_ZSTD for entry in kept.entries)
                    return FilledShard(number, root, path.stat().st_size, frames)
        return None

    def _found(self) -> bytes:
        """The root digest of a set that is what would be written; else nothing."""
        named = [self._complete_shard(name) for name in listed_shards(self.target)]
        shards = [shard for shard in named if shard is not None]
        if not shards or [one.number for one in shards] != [*range(1, len(self.groups) + 1)]:
            return b""
        frames = any(shard.has_frames for shard in shards)
        level = self.level if frames else None
        info = None if level is None else compression_info(level)
        content = replace(outline(self.plan, info, self._placed(shards)), tensors=())
        with self.target.open("rb") as file:
            if not is_complete(file, content, compressed=level is not None):
                return b""
        for shard in shards:
            self._report(shard)
        return bytes.fromhex(root_of(self.target))

    def _complete(self, files: ShardSet, done: Mapping[int, FilledShard]) -> bytes:
        """Every shard in its place, then the root in its."""
        if not self.groups:
            return write_single(files, self.plan, self.level, self.progress)
        orders = [
            ShardOrder(self.target, number, tuple(one.name for one in group), self.level)
            for number, group in enumerate(self.groups, 1)
            if number not in done
        ]
        filled = dict(done)
        for shard in done.values():
            files.keep(self._name(shard))
            self._report(shard)
        for shard in (self.runner or self._here)(orders):
            files.take(unfinished_path(self.target, shard.number), self._name(shard))
            filled[shard.number] = shard
            self._report(shard)
        ordered = [filled[number] for number in sorted(filled)]
        frames = any(shard.has_frames for shard in ordered)
        return write_root(files, self.plan, self._placed(ordered), self.level, has_frames=frames)

    def _name(self, shard: FilledShard) -> str:
        return shard_name(self.target, shard.number, len(self.groups), shard.root)

    def _placed(self, shards: Sequence[FilledShard]) -> Placed:
        planes: dict[tuple[str, str], Pieces] = {}
        for shard in shards:
            level = self.level if shard.has_frames else None
            found = _numbers(self.groups[shard.number - 1], level)
            planes |= {key: Pieces(shard.number, numbers) for key, numbers in found.items()}
        records = [ShardRecord(self._name(one), one.length, one.root) for one in shards]
        return Placed(records, planes)

    def _here(self, orders: Sequence[ShardOrder]) -> Iterator[FilledShard]:
        """Shards one after another in this process."""
        for order in orders:
            yield fill_shard(order, self.groups[order.number - 1])

    def _report(self, shard: FilledShard) -> None:
        if self.progress is not None:
            for tensor in self.groups[shard.number - 1]:
                self.progress(tensor.name, tensor.layout.nbytes(tensor.shape))
