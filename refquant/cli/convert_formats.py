"""What `refquant convert` writes for others: GGUF, NNEF, safetensors; what each tensor loses."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from cyclopts import Parameter

from refquant.cli.destination import check_room, explained
from refquant.cli.output import format_bytes, print_table, printable
from refquant.cli.progress import progress
from refquant.errors import LossError

if TYPE_CHECKING:
    from refquant.driver import Scheme
    from refquant.formats import Checkpoint
    from refquant.formats.transfer import Moved

__all__ = ["Job", "Target", "print_moves", "write_foreign"]

SHOWN = 20
"""Tensors that an error lists by name."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Target:
    """What another format is written like, as options."""

    scheme: Annotated[
        str | None,
        Parameter(
            help="What a tensor becomes that the format cannot hold as it is "
            "[default: GGUF ggml/q8_0, the others float/f32]."
        ),
    ] = None
    lossless_only: Annotated[
        bool, Parameter(negative="", help="Write nothing if a weight would change.")
    ] = False
    legacy: Annotated[
        bool, Parameter(negative="", help="NNEF: Q40 in the older item type, 0x2040.")
    ] = False


class Export(Protocol):
    """A model in another format that has not been written yet."""

    @property
    def targets(self) -> "Mapping[str, Scheme]":
        """The scheme of each tensor there."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors there."""

    def moved(self, name: str) -> "Moved":
        """One tensor as it will be there."""

    def write(self, path: Path, advance: "Callable[[str, Moved], None]") -> int:
        """Write it, and say how long it is."""


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion: what is read, where it goes, in which format."""

    source: Path | str
    output: Path
    checkpoint: "Checkpoint"
    kind: str
    target: Target


def write_foreign(job: Job, *, quiet: bool) -> dict[str, Any]:
    """Write the model and say what became of each tensor."""
    plan = _planned(job)
    check_room(job.output, plan.nbytes)
    if job.target.lossless_only:
        _refuse_loss(plan, job.target.scheme, quiet=quiet)
    moves: list[dict[str, Any]] = []
    with progress("writing", plan.nbytes, quiet=quiet) as meter:

        def advance(name: str, found: "Moved") -> None:
            meter.start(name)
            meter.advance(found.tensor.nbytes)
            moves.append(_fact(name, found))

        try:
            nbytes = _written(job, plan, advance)
        except OSError as error:
            raise explained(error, job.output) from error
    counts = Counter(one["verdict"] for one in moves)
    return {
        "output": str(job.output),
        "format": job.kind,
        "bytes": nbytes,
        "verdicts": {name: counts[name] for name in ("exact", "repacked", "requantized")},
        "left_out": list(getattr(plan, "left_out", ())),
        "tensors": moves,
    }


def _planned(job: Job) -> Export:
    from refquant.formats.gguf_export import plan_gguf
    from refquant.formats.hugging_face_export import plan_safetensors
    from refquant.formats.nnef_export import plan_nnef

    if job.kind == "gguf":
        return plan_gguf(job.checkpoint, job.target.scheme or "ggml/q8_0")
    wanted = job.target.scheme or "float/f32"
    if job.kind == "nnef":
        return plan_nnef(job.checkpoint, wanted, legacy=job.target.legacy)
    return plan_safetensors(job.checkpoint, wanted)


def _written(job: Job, plan: Export, advance: "Callable[[str, Moved], None]") -> int:
    """The bytes of what was written: a file, or a folder with the texts that belong to it."""
    from refquant.formats.folders import atomic_folder

    if job.kind != "safetensors" or job.output.suffix:
        return plan.write(job.output, advance)
    texts: Mapping[str, bytes] = getattr(plan, "texts", {})
    with atomic_folder(job.output) as folder:
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        return plan.write(folder / "model.safetensors", advance) + sum(map(len, texts.values()))


def _refuse_loss(plan: Export, scheme: str | None, *, quiet: bool) -> None:
    """Raise LossError with the tensors whose weights would change."""
    lost = []
    with progress("checking", len(plan.targets), quiet=quiet) as meter:
        for name in plan.targets:
            meter.start(name)
            found = plan.moved(name)
            if found.verdict == "requantized":
                lost.append(f"{name}: {found.tensor.scheme.name}, relative error {found.loss:.2g}")
            meter.advance(1)
    if lost:
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        raise LossError(
            f"{len(lost)} of {len(plan.targets)} tensors cannot be written without loss: "
            + "; ".join(lost[:SHOWN])
            + more
            + ("" if scheme else ". --scheme float/f32 keeps every value, in more bytes")
        )


def _fact(name: str, found: "Moved") -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(found.tensor.shape),
        "from": found.source,
        "to": found.tensor.scheme.name,
        "verdict": found.verdict,
        "relative_rmse": found.loss if math.isfinite(found.loss) else None,
        "bytes": found.tensor.nbytes,
    }


def print_moves(facts: Mapping[str, Any]) -> None:
    """One row for the tensors of one kind that fared alike, then the file."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in facts["tensors"]:
        groups.setdefault((one["verdict"], one["from"], one["to"]), []).append(one)
    rows = [
        (verdict, source, target, len(members), *_summed(members))
        for (verdict, source, target), members in groups.items()
    ]
    header = ("verdict", "from", "to", "tensors", "size", "largest loss", "in")
    print_table(header, rows, numeric=[3, 4, 5])
    if facts["left_out"]:
        print(f"\nleft out: {len(facts['left_out'])} tensors that are no matrices")
    size, seconds = format_bytes(facts["bytes"]), facts["seconds"]
    print(f"\nwrote {printable(facts['output'])}: {size}, in {seconds:.1f} s")


def _summed(members: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Their bytes, and the one that lost most."""
    worst = max(members, key=lambda one: math.inf if (r := one["relative_rmse"]) is None else r)
    size = format_bytes(sum(one["bytes"] for one in members))
    if worst["verdict"] != "requantized":
        return size, "0", ""
    loss = worst["relative_rmse"]
    return size, "not a number" if loss is None else f"{loss:.3g}", worst["name"]
