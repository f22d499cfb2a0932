"""One tensor's work as a message: what another process needs for it, and how it answers.

A worker opens the source itself, once, and checks that it is the file that was meant and that its
own version of refquant is the same, so that no machine of a cluster answers with other bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UsageError
from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import FilledShard, ShardOrder, fill_shard
from refquant.quantization.plan import Knowledge, planned_tensor
from refquant.quantization.provenance import source_files, tool_version
from refquant.quantization.rotation import rotated_checkpoint
from refquant.recipe import Assignment

__all__ = ["Answer", "Source", "TensorWork", "answered", "fill", "make_planes"]

Planes = dict[str, NDArray[np.uint8]]
Result = TypeVar("Result")

_SAMPLE: Final = 1 << 16
"""Bytes at either end of a file that are compared between machines, beside its length."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model that any process can open, and what tells it from another of the same name."""

    path: str
    mark: str
    version: str
    opener: Callable[[Path], Checkpoint] = field(default=open_checkpoint, compare=False)
    rotation: Literal["", "hadamard"] = ""

    @classmethod
    def at(
        cls,
        path: Path,
        opener: Callable[[Path], Checkpoint] = open_checkpoint,
        rotation: Literal["", "hadamard"] = "",
    ) -> "Source":
        """The model at a path; `opener` is a function that other processes can import."""
        return cls(str(path.resolve()), _mark(path), tool_version(), opener, rotation)

    def checkpoint(self) -> Checkpoint:
        """The model, opened once in this process, in the coordinates that the recipe asks for."""
        return _opened(self)


@lru_cache(maxsize=1)
def _opened(source: Source) -> Checkpoint:
    found = tool_version()
    if found != source.version:
        raise UsageError(
            f"a worker has refquant {found}, and {source.version} is asked for: "
            "other versions may write other bytes"
        )
    path = Path(source.path)
    if not path.exists():
        raise UsageError(f"a worker does not find the source {path}; it needs the same folders")
    if _mark(path) != source.mark:
        raise UsageError(f"a worker finds another file at {path} than the one that is meant")
    return rotated_checkpoint(source.opener(path), source.rotation)


def _mark(path: Path) -> str:
    """A digest of names, lengths and both ends of the files."""
    digest = sha256()
    for one in source_files(path):
        size = one.stat().st_size
        digest.update(f"{one.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with one.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(size - _SAMPLE, 0))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TensorWork:
    """A tensor whose planes are to be made."""

    source: Source
    assignment: Assignment
    knowledge: Knowledge
    threads: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of some work: a result, or the error with which it ended.

    Exceptions of this package are built from other arguments than they keep, which is why they do
    not travel as they are. An error of the executor itself, such as a worker's death, is none.
    """

    result: Any = None
    error: type[Exception] | None = None
    arguments: tuple[Any, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def value(self) -> Any:
        """The result; raises the error that there was."""
        if self.error is None:
            return self.result
        error = self.error.__new__(self.error, *self.arguments)
        error.__dict__.update(self.facts)
        raise error


def answered(work: Callable[..., Result], *arguments: Any) -> Answer:
    """Do some work, and answer with what came of it."""
    try:
        return Answer(work(*arguments))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is raised where it is known)
        return Answer(None, type(error), error.args, dict(error.__dict__))


def make_planes(work: TensorWork) -> Planes:
    """The planes of a tensor, as bytes of this process's own."""
    tensors = work.source.checkpoint().tensors
    planned = planned_tensor(tensors, work.assignment, work.knowledge, work.threads)
    return {name: np.ascontiguousarray(plane) for name, plane in planned.produce().items()}


def fill(order: ShardOrder, work: tuple[TensorWork, ...]) -> FilledShard:
    """Fill a shard with its tensors, one at a time."""
    return fill_shard(
        order,
        [
            planned_tensor(
                one.source.checkpoint().tensors, one.assignment, one.knowledge, one.threads
            )
            for one in work
        ],
    )
