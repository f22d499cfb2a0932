"""`refquant convert`: the same model in another form."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.destination import check_output, check_room, explained, parse_bytes
from refquant.cli.output import emit_json, format_bytes, print_pairs
from refquant.cli.progress import Meter, progress
from refquant.errors import ConformanceError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint

__all__ = ["convert"]


@dataclass(frozen=True, slots=True)
class _Job:
    """One conversion: what is read, where it goes, in which form."""

    source: Path | str
    output: Path
    checkpoint: "Checkpoint"
    options: Mapping[str, Any]


def convert(
    source: Annotated[
        str, Parameter(help="A .rq file, a known name, or a .rq file's web address.")
    ],
    output: Annotated[Path, Parameter(help="The file to write; its ending says the format.")],
    /,
    *,
    compression: Annotated[
        Literal["none", "zstd"], Parameter(help="Store segments as zstd frames where smaller.")
    ] = "none",
    shard_size: Annotated[
        str | None,
        Parameter(help="Split between tensors into files of at most this size, such as 2GB."),
    ] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, Parameter(help="Print neither progress nor result.")] = False,
) -> int:
    """Write the same model in another form: raw, compressed, in one file or in shards.

    Codes and scales are copied and never computed, so the digest of the tensors stays the same;
    it is taken of both files and compared. Texts, aliases, provenance and extensions are carried
    over. At most one segment is in memory. The output appears, or is replaced, only when it is
    complete; shards appear beside it, named after it, their place and their content. To change
    schemes, use `refquant quantize`.

    For example:
      refquant convert model.rq packed.rq --compression zstd
      refquant convert model.rq split.rq --shard-size 2GB
      refquant convert split.rq whole.rq
    """
    from refquant.formats import open_checkpoint
    from refquant.library import locate

    began = time.perf_counter()
    write = _writer(output)
    place = locate(source)
    options = {
        "compression": None if compression == "none" else compression,
        "shard_size": None if shard_size is None else parse_bytes(shard_size),
    }
    check_output(output, _files_of(place))
    job = _Job(place, output, open_checkpoint(place), options)
    facts = write(job, quiet)
    facts["seconds"] = time.perf_counter() - began
    if json:
        emit_json("convert", facts)
    elif not quiet:
        _print(facts)
    return 0


def _writer(output: Path) -> Callable[[_Job, bool], dict[str, Any]]:
    """What writes files of this ending."""
    ending = output.suffix.lower()
    if ending not in WRITERS:
        known = ", ".join(WRITERS)
        raise UsageError(f"cannot write {output}: {ending or 'no ending'!r}, expected {known}")
    return WRITERS[ending]


def _files_of(place: Path | str) -> list[Path]:
    """The local files that are read: the file itself and its shards."""
    if isinstance(place, str):
        return []
    from refquant.formats.rq.shard_set import listed_shards

    return [place, *(place.parent / name for name in listed_shards(place))]


def _write_rq(job: _Job, quiet: bool) -> dict[str, Any]:
    from refquant.formats.rq import (
        plan_checkpoint,
        read,
        read_header,
        stored_bytes,
        tensors_digest,
        write,
    )
    from refquant.formats.rq.read import StoredTensors

    if not isinstance(job.checkpoint.tensors, StoredTensors):
        raise UnsupportedError(
            f"{job.source} is no .rq file; `refquant quantize {job.source} -o {job.output} "
            "--scheme keep` makes one of it without changing a weight"
        )
    plan = plan_checkpoint(job.checkpoint)
    total = sum(one.layout.nbytes(one.shape) for one in plan.tensors)
    check_room(job.output, total)
    with progress("reading", total, quiet=quiet) as meter:
        expected = tensors_digest(job.checkpoint, _advancing(meter))
    with progress("writing", total, quiet=quiet) as meter:
        try:
            root = write(job.output, plan, progress=_advancing(meter), **job.options)
        except OSError as error:
            raise explained(error, job.output) from error
    with progress("comparing", total, quiet=quiet) as meter:
        found = tensors_digest(read(job.output), _advancing(meter))
    if found != expected:
        raise ConformanceError(
            f"{job.output} was written, but its tensors have the digest {found} and those of "
            f"{job.source} {expected}; the disk may be damaged"
        )
    contents = read_header(job.output)
    shards = () if contents.header is None else contents.header.shards
    return {
        "output": str(job.output),
        "root": root,
        "tensors_digest": found,
        "bytes": stored_bytes(job.output),
        "shards": [{"name": one.name, "bytes": one.file_length} for one in shards],
        "features": list(contents.preamble.feature_names) if contents.preamble else [],
    }


def _advancing(meter: Meter) -> Callable[[str, int], None]:
    def advance(name: str, nbytes: int) -> None:
        meter.start(name)
        meter.advance(nbytes)

    return advance


WRITERS: dict[str, Callable[[_Job, bool], dict[str, Any]]] = {".rq": _write_rq}
"""Endings, and what writes files of that format."""


def _print(facts: Mapping[str, Any]) -> None:
    size = format_bytes(facts["bytes"])
    shards = [(one["name"], format_bytes(one["bytes"])) for one in facts["shards"]]
    print_pairs(
        [
            ("wrote", f"{facts['output']}: {size}, in {facts['seconds']:.1f} s"),
            *(("shard", f"{name}, {nbytes}") for name, nbytes in shards),
            ("root", facts["root"]),
            ("tensors digest", f"{facts['tensors_digest']}, as the source's"),
        ]
    )
