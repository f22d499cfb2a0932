"""A quantized file from a model: by this process, by an executor's workers, and gone on with."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refquant.formats import open_checkpoint
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import Compression, write_resumable
from refquant.quantization.executors import Ahead, Crew, shards_by
from refquant.quantization.plan import Knowledge, is_made, quantized_plan
from refquant.quantization.provenance import Meter, carried_info, provenance
from refquant.quantization.rotation import rotated_checkpoint
from refquant.quantization.work import Source, TensorWork
from refquant.recipe import Assignment, Recipe, assign

__all__ = ["Hands", "quantize_checkpoint", "write_quantized"]


def quantize_checkpoint(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recipe: Recipe,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    compression: Compression | None = None,
    shard_size: int | None = None,
    resume: bool = False,
) -> str:
    """Quantize the model at `source` by a recipe into an `.rq` file; its root digest in hex.

    The file is the same, byte for byte, whoever makes it: this process; or with `executor` any
    `concurrent.futures.Executor`, whose workers open `source` under the same path, `workers` of
    them at a time. With `shard_size` each worker writes whole shards, into the output's folder,
    and the root that pins them is written last. With `resume` the work of a killed run is gone on
    with; `UsageError` if it is that of another source, recipe or version.
    """
    path = Path(source)
    checkpoint = rotated_checkpoint(open_checkpoint(path), recipe.rotation)
    info = checkpoint.info
    record = provenance(path, recipe.to_data(), info.get("provenance"), _Silent())
    crew = None
    if executor is not None:
        known = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        crew = Crew(executor, known)
    return write_quantized(
        Path(output),
        checkpoint,
        assign(checkpoint, recipe),
        info={**carried_info(info), "provenance": record},
        hands=Hands(None, crew, Source.at(path, rotation=recipe.rotation)),
        form={"compression": compression, "shard_size": shard_size, "resume": resume},
    )


class _Silent:
    def start(self, _label: str) -> None:
        return

    def advance(self, _count: int) -> None:
        return


@dataclass(frozen=True, slots=True)
class Hands:
    """Who makes the tensors: threads of this process, or a crew that opens the `source`."""

    threads: int | None = None
    crew: Crew | None = None
    source: Source | None = None

    def shared(self, decided: Sequence[Assignment], known: Knowledge) -> dict[str, TensorWork]:
        """The work of each tensor for a crew; nothing without one."""
        if self.crew is None or self.source is None:
            return {}
        # Two kinds of parallel work would only get in each other's way.
        threads = self.threads or 1
        return {
            one.tensor: TensorWork(self.source, one, known.only(one.tensor), threads)
            for one in decided
        }


def write_quantized(
    output: Path,
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    *,
    info: Mapping[str, object],
    knowledge: Knowledge | None = None,
    hands: Hands | None = None,
    meter: Meter | None = None,
    form: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint whose tensors got their schemes; the root digest in hex.

    `form` are the arguments of `write_resumable` that say how the file is laid out.
    """
    known, decided, shown = knowledge or Knowledge(), tuple(assignments), meter or _Silent()
    by = hands or Hands()
    work = by.shared(decided, known)
    made = {one.tensor: work[one.tensor] for one in decided if work and is_made(one, known)}
    ahead = None if by.crew is None or not made else Ahead(by.crew, made)
    with nullcontext() if ahead is None else closing(ahead):
        plan = quantized_plan(
            checkpoint,
            decided,
            info=info,
            knowledge=known,
            threads=by.threads,
            started=shown.start,
            made=None if ahead is None else ahead.planes,
        )
        return write_resumable(
            output,
            plan,
            progress=lambda _name, nbytes: shown.advance(nbytes),
            shards=None if by.crew is None or not work else shards_by(by.crew, work),
            **(form or {}),
        )
