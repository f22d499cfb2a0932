"""`refquant quantize`: a model into a quantized `.rq` file, tensor by tensor."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from refquant.cli.calibration_options import Calibrating, learn, with_algorithm
from refquant.cli.chat_strings import with_told_chat
from refquant.cli.destination import check_output, check_room, explained
from refquant.cli.file_form import FileForm
from refquant.cli.output import emit_json, format_bits, format_bytes, print_table, printable
from refquant.cli.progress import progress
from refquant.cli.quantize_options import Printing, Work
from refquant.cli.recipe_options import Wanted, prepare
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.quantization import Knowledge
    from refquant.recipe import Assignment, Assignments, Recipe

__all__ = ["quantize"]

_OTHER_ENDINGS = frozenset({".gguf", ".safetensors", ".onnx", ".tflite", ".bin", ".pt", ".npz"})


def quantize(
    source: Annotated[
        str,
        Parameter(
            help="A .rq, .gguf, .safetensors or .pt file, a Hugging Face folder, or a known name."
        ),
    ],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="The .rq file to write.")],
    wanted: Wanted | None = None,
    calibrating: Calibrating | None = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Print what would be done to each tensor, and stop.")
    ] = False,
    form: FileForm | None = None,
    work: Work | None = None,
    printing: Printing | None = None,
) -> int:
    """Write a quantized .rq file from a model.

    With --scheme matrices get the scheme; vectors and norms stay as they are; the token embedding
    and the output head get at least 8 bits unless --embedding-scheme says otherwise; a tensor whose
    shape does not fit the scheme gets another, and the table says which and why. Tensors that have
    the scheme already are copied byte for byte, as are all of them with --scheme keep.

    With a target some rows of every matrix are tried under every candidate. Then steps to larger
    schemes are taken, those first that save most of the relative squared error for each byte; the
    embedding and the head count four times.

    One tensor at a time is in memory. The output appears, or is replaced, only when it is complete,
    and the same command writes the same bytes again, however many take part in the work.

    For example:
      refquant quantize smollm2-135m -o small.rq --scheme ggml/q4_0
      refquant quantize ./hf-folder -o eight.rq --scheme "int/affine[bits=8,channel]"
      refquant quantize model.gguf -o model.rq --scheme keep --compression zstd
      refquant quantize model.gguf -o model.rq --recipe mine.toml --dry-run
      refquant quantize ./hf-folder -o model.rq --recipe Q4_K_M --tensor-type ffn_down=q6_k
      refquant quantize ./hf-folder -o model.rq --quantize '{"linear:int8": {"groupsize": 0}}'
      refquant quantize ./hf-folder -o m.rq --scheme q3_k --algorithm gptq --calibration text.txt
      refquant quantize model.gguf -o model.rq --recipe Q4_K_M --imatrix model.imatrix
      refquant quantize ./hf-folder -o m.rq --recipe Q4_K_M --workers 2 --resume
      refquant quantize ./hf-folder -o m.rq --target-size 90MB --dry-run
      refquant quantize ./hf-folder -o m.rq --scheme q4_k --report errors.html
    """
    from refquant.cli.source import open_source
    from refquant.library import resolve
    from refquant.quantization.rotation import rotated_checkpoint
    from refquant.recipe import assign

    shown = printing or Printing()
    working = work or Work()
    working.check()
    shown.check(dry_run=dry_run)
    recipe_for = prepare(wanted or Wanted(), quiet=shown.quiet)
    arguments = (form or FileForm()).arguments
    path = resolve(source)
    _check_ending(output)
    check_output(output, [path])
    checkpoint = open_source(path)
    learning = calibrating or Calibrating()
    recipe = with_algorithm(recipe_for(checkpoint), learning)
    checkpoint = rotated_checkpoint(checkpoint, recipe.rotation)
    assignments = assign(checkpoint, recipe)
    _warn_of_second_errors(assignments)
    if wanted:
        is_file = Path(str(wanted.recipe)).is_file()
        _warn_of_doubts(assignments, recipe, None if is_file else len(wanted.tensor_type))
    job = _Job(path, output, checkpoint, assignments, recipe)
    if dry_run:
        _print_dry_run(job, as_json=shown.json)
        return 0
    job = replace(job, checkpoint=with_told_chat(checkpoint, quiet=shown.quiet))
    check_room(output, sum(one.nbytes for one in assignments))
    knowledge = learn(checkpoint, assignments, learning, quiet=shown.quiet)
    result = job.run(knowledge, working, form=arguments, quiet=shown.quiet)
    if shown.report:
        job.write_reports(shown.report, knowledge, result, quiet=shown.quiet)
    if shown.json:
        emit_json("quantize", _facts(job, result))
    elif not shown.quiet:
        _print(job, result)
    return 0


def _check_ending(output: Path) -> None:
    if output.suffix.lower() in _OTHER_ENDINGS:
        raise UsageError(
            f"cannot write {output}: this command writes .rq files, and the name says otherwise"
        )


def _warn_of_doubts(assignments: "Assignments", recipe: "Recipe", first: int | None) -> None:
    from refquant.recipe import doubts

    for sentence in doubts(assignments, recipe, first):
        print(f"refquant: warning: {sentence}", file=sys.stderr)


def _warn_of_second_errors(assignments: Sequence["Assignment"]) -> None:
    """Say once that quantizing what is quantized already adds a second error to the first."""
    again = [one for one in assignments if one.is_requantized]
    if again:
        schemes = ", ".join(sorted({one.source_scheme for one in again}))
        print(
            f"refquant: warning: {len(again)} of {len(assignments)} tensors are quantized already "
            f"({schemes}); their errors and the new ones add up. A float source gives a better "
            "result.",
            file=sys.stderr,
        )


@dataclass(frozen=True, slots=True)
class _Result:
    """What came out: the digest that pins the file, its size, and how long it took."""

    root: str
    nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that is known before the work begins."""

    source: Path
    output: Path
    checkpoint: "Checkpoint"
    assignments: "Assignments"
    recipe: "Recipe"

    def run(
        self, knowledge: "Knowledge", work: Work, *, form: Mapping[str, Any], quiet: bool
    ) -> _Result:
        """Hash the source, then quantize and write one tensor after another."""
        from refquant.cli.source import open_source
        from refquant.formats.rq import stored_bytes
        from refquant.quantization import Hands, write_quantized
        from refquant.quantization.provenance import carried_info, provenance, source_bytes
        from refquant.quantization.work import Source

        began = time.perf_counter()
        info = self.checkpoint.info
        with progress("hashing", source_bytes(self.source), quiet=quiet) as meter:
            record = provenance(self.source, self.recipe.to_data(), info.get("provenance"), meter)
        if knowledge.source:
            record["calibration"] = dict(knowledge.source)
        total = sum(one.nbytes for one in self.assignments)
        origin = (
            Source.at(self.source, open_source, self.recipe.rotation) if work.is_shared else None
        )
        with (
            _resuming(self.output, work, quiet=quiet),
            work.crew() as crew,
            progress("quantizing", total, quiet=quiet) as meter,
        ):
            try:
                root = write_quantized(
                    self.output,
                    self.checkpoint,
                    self.assignments,
                    info={**carried_info(info), "provenance": record},
                    knowledge=knowledge,
                    hands=Hands(work.jobs, crew, origin),
                    meter=meter,
                    form={**form, "resume": work.resume},
                )
            except OSError as error:
                raise explained(error, self.output) from error
        return _Result(root, stored_bytes(self.output), time.perf_counter() - began)

    def write_reports(
        self, paths: Sequence[Path], knowledge: "Knowledge", result: _Result, *, quiet: bool
    ) -> None:
        """Compare the file with its source, and write what was found in each form."""
        from json import dumps

        from refquant.formats import open_checkpoint
        from refquant.formats.rq import atomic_file
        from refquant.quantization.errors_of import errors_of, report_data
        from refquant.quantization.report_page import report_page

        total = sum(one.weights for one in self.assignments)
        with progress("measuring", total, quiet=quiet) as meter:

            def measured(name: str, weights: int) -> None:
                meter.start(name)
                meter.advance(weights)

            made = open_checkpoint(self.output)
            found = errors_of(self.checkpoint, made, self.assignments, knowledge.folds, measured)
            errors = list(found)
        facts = {"output": self.output.name, "source": self.source.name, "root": result.root}
        data = report_data(errors, self.recipe, facts)
        for path in paths:
            if path.suffix.lower() == ".html":
                text = report_page(data, errors)
            else:
                text = dumps({"schema": "refquant.quantize-report/1", **data}, indent=1) + "\n"
            with atomic_file(path) as file:
                file.write(text.encode())


@contextmanager
def _resuming(output: Path, work: Work, *, quiet: bool) -> Iterator[None]:
    """Say what --resume finds, and what it leaves."""
    from refquant.formats.rq import has_unfinished

    if not work.resume:
        yield
        return
    if not quiet:
        found = "going on with" if has_unfinished(output) else "there is no"
        print(f"refquant: {found} unfinished work on {printable(str(output))}", file=sys.stderr)
    try:
        yield
    except BaseException:
        if has_unfinished(output):
            print(
                f"refquant: what is done of {printable(str(output))} is kept; the same command "
                "goes on with it",
                file=sys.stderr,
            )
        raise


def _facts(job: _Job, result: _Result) -> dict[str, Any]:
    return {
        "output": str(job.output),
        "root": result.root,
        "bytes": result.nbytes,
        "seconds": result.seconds,
        **_plan_facts(job),
    }


def _plan_facts(job: _Job) -> dict[str, Any]:
    return {
        "recipe": job.recipe.to_data(),
        "bits_per_weight": _bits(job.assignments),
        "unused_rules": list(job.assignments.unused_rules(job.recipe)),
        "tensors": [
            {
                "name": one.tensor,
                "shape": list(one.shape),
                "from": one.source_scheme,
                "to": one.target_scheme,
                "untouched": one.is_untouched,
                "fallback": one.is_fallback,
                "rule": one.rule,
                "compute": one.compute,
                "activation": one.activation,
                "algorithm": one.algorithm,
                "reason": one.reason,
                "bytes": one.nbytes,
            }
            for one in job.assignments
        ],
    }


def _print_dry_run(job: _Job, *, as_json: bool) -> None:
    """What would be done to every tensor: no weight is read."""
    total = sum(one.nbytes for one in job.assignments)
    peak = max((4 * one.weights + one.nbytes for one in job.assignments), default=0)
    if as_json:
        plan = {**_plan_facts(job), "bytes": total, "peak_memory": peak}
        emit_json("quantize-plan", plan)
        return
    rows = [
        (
            one.tensor,
            "" if one.rule is None else one.rule,
            one.target_scheme,
            format_bytes(one.nbytes),
            format_bits(_bits([one])),
            one.reason,
        )
        for one in job.assignments
    ]
    footer = ("total", "", "", *_sizes(job.assignments), "")
    header = ("tensor", "rule", "scheme", "size", "bits/weight", "why")
    print_table(header, rows, numeric=[1, 3, 4], footer=footer)
    print(f"\nabout {format_bytes(peak)} of memory for the largest tensor; nothing was written")


def _bits(assignments: Sequence["Assignment"]) -> float:
    weights = sum(one.weights for one in assignments)
    return 8 * sum(one.nbytes for one in assignments) / max(weights, 1)


def _print(job: _Job, result: _Result) -> None:
    groups: dict[tuple[str, str, str], list[Assignment]] = {}
    for one in job.assignments:
        source = "untouched" if one.is_untouched else one.source_scheme
        groups.setdefault((one.target_scheme, source, one.reason), []).append(one)
    rows = [
        (target, source, len(members), *_sizes(members), reason)
        for (target, source, reason), members in groups.items()
    ]
    header = ("scheme", "from", "tensors", "size", "bits/weight", "why")
    total = ("total", "", len(job.assignments), *_sizes(job.assignments), "")
    print_table(header, rows, numeric=[2, 3, 4], footer=total)
    rate = format_bytes(result.nbytes / max(result.seconds, 1e-9))
    print(
        f"\nwrote {printable(str(job.output))}: {format_bytes(result.nbytes)} with texts, "
        f"in {result.seconds:.1f} s ({rate}/s)\nroot {result.root}"
    )


def _sizes(assignments: Sequence["Assignment"]) -> tuple[str, str]:
    nbytes = sum(one.nbytes for one in assignments)
    return format_bytes(nbytes), format_bits(_bits(assignments))
