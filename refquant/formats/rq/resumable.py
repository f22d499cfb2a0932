"""Writing `.rq` so that killed work can be gone on with: the bytes are those of `write`.

A file is filled under the name of unfinished work (`unfinished.py`) and renamed when it is
complete; a model in shards is the business of `resumable_set.py`. Work is taken up only by the
same run: the same header, which holds the digests of what is read, the recipe and the version.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from refquant.formats.rq import zstd_frames
from refquant.formats.rq.atomic import check_target, remove_abandoned, sync_directory
from refquant.formats.rq.journal import is_journal, root_of, undo
from refquant.formats.rq.plan import Outline, Plan, outline
from refquant.formats.rq.resumable_set import SetJob, ShardRunner
from refquant.formats.rq.same_run import differences, other_run, record_of
from refquant.formats.rq.shard_set import listed_shards
from refquant.formats.rq.split import groups_of
from refquant.formats.rq.unfinished import (
    always,
    fill,
    first_header,
    is_complete,
    is_interruption,
    parts_of,
    unfinished_file,
    unfinished_path,
)
from refquant.formats.rq.write import Compression, Progress, begun_again, compression_info

__all__ = ["has_unfinished", "write_resumable"]


def write_resumable(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    compression: Compression | None = None,
    level: int = zstd_frames.DEFAULT_LEVEL,
    shard_size: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    shards: ShardRunner | None = None,
) -> str:
    """Write a plan as `write` does, to the same bytes, and return the root digest in hex.

    What a killed writer of the same plan left is gone on with if `resume` is set, and else
    removed; tensors that are there are not asked for again, and of a file that is complete and
    the same none is. With `resume` an interruption or an error of the system leaves the work for
    the next time. `shards` has the shards of a split
    model filled elsewhere. Raises `UsageError` where unfinished work is of another plan, or
    another process is at work.
    """
    target = Path(path)
    chosen = None if compression is None else level
    groups = None if shard_size is None else groups_of(plan, shard_size)
    check_target(target)
    remove_abandoned(target.parent)
    if not resume:
        _forget(target)
    if groups is not None or listed_shards(target) or _is_set(unfinished_path(target)):
        job = SetJob(target, plan, chosen, progress, resume, tuple(groups or ()), shards)
        return job.write().hex()
    return _write_file(_Single(target, plan, chosen, progress, resume)).hex()


def has_unfinished(path: str | os.PathLike[str]) -> bool:
    """Whether somebody left unfinished work on a target."""
    return bool(parts_of(Path(path)))


def _is_set(path: Path) -> bool:
    """Whether the unfinished work replaces or makes a set, even where its root is there already."""
    with suppress(OSError):
        return is_journal(path)
    return False


def _forget(target: Path) -> None:
    """Remove what killed writers left of other work on the target."""
    for path in parts_of(target):
        with unfinished_file(path, keeps=always):
            with suppress(OSError):
                if is_journal(path):
                    undo(path)
            path.unlink()


def _silent(_name: str, _nbytes: int) -> None:
    return


@dataclass(frozen=True, slots=True)
class _Single:
    """One file on its way."""

    target: Path
    plan: Plan
    level: int | None
    progress: Progress | None
    resume: bool

    def keeps(self, error: BaseException) -> bool:
        return self.resume and is_interruption(error)

    def content(self, level: int | None) -> Outline:
        return outline(self.plan, None if level is None else compression_info(level))


def _write_file(job: _Single) -> bytes:
    path = unfinished_path(job.target)
    if job.resume and not path.exists() and (root := _complete(job)):
        return root
    if path.exists():
        # Of another run it stays as it is, for that run.
        with unfinished_file(path, keeps=always) as file:
            _check(file, path, job)
    with unfinished_file(path, keeps=job.keeps) as file:

        def attempt(level: int | None) -> bytes | None:
            writer = fill(file, job.content(level), level, job.progress)
            return None if level is not None and not writer.has_frames else writer.finish()

        root = begun_again(file, job.level, attempt)
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":
            file.close()
        path.replace(job.target)
    sync_directory(job.target.parent)
    return root


def _complete(job: _Single) -> bytes:
    """The root digest of a file that is what the job would write, every byte read; else nothing."""
    root = root_of(job.target)
    if not root:
        return b""
    with job.target.open("rb") as file:
        for level in dict.fromkeys((job.level, None)):
            if is_complete(file, job.content(level), compressed=level is not None):
                report = job.progress or _silent
                for tensor in job.plan.tensors:
                    report(tensor.name, tensor.layout.nbytes(tensor.shape))
                return bytes.fromhex(root)
    return b""


def _check(file: IO[bytes], path: Path, job: _Single) -> None:
    """Refuse to go on with unfinished work of another run; it stays for that run."""
    if is_journal(path):
        raise other_run(job.target, ["it is split into shards, and this one is not"])
    before, now = first_header(file), job.content(job.level).header
    if before and before != now:
        raise other_run(job.target, differences(record_of(before), record_of(now)))
