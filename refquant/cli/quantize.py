"""`refquant quantize`: a model into a quantized `.rq` file, tensor by tensor."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from refquant.cli.calibration_options import Calibrating, learn, with_algorithm
from refquant.cli.chat_strings import with_told_chat
from refquant.cli.destination import check_output, check_room
from refquant.cli.file_form import FileForm
from refquant.cli.output import emit_json
from refquant.cli.quantize_job import Job
from refquant.cli.quantize_options import Printing, Work
from refquant.cli.quantize_tables import print_dry_run, print_result, result_facts
from refquant.cli.recipe_options import Wanted, prepare
from refquant.errors import UsageError

if TYPE_CHECKING:
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
    shown, working = printing or Printing(), work or Work()
    working.check()
    shown.check(dry_run=dry_run)
    arguments = (form or FileForm()).arguments
    learning = calibrating or Calibrating()
    job = _planned(source, output, wanted or Wanted(), learning, quiet=shown.quiet)
    if dry_run:
        print_dry_run(job, as_json=shown.json)
        return 0
    checkpoint, assignments = job.checkpoint, job.assignments
    job = replace(job, checkpoint=with_told_chat(checkpoint, quiet=shown.quiet))
    check_room(output, sum(one.nbytes for one in assignments))
    knowledge = learn(checkpoint, assignments, learning, quiet=shown.quiet)
    result = job.run(knowledge, working, form=arguments, quiet=shown.quiet)
    if shown.report:
        job.write_reports(shown.report, knowledge, result, quiet=shown.quiet)
    if shown.json:
        emit_json("quantize", result_facts(job, result))
    elif not shown.quiet:
        print_result(job, result)
    return 0


def _planned(
    source: str, output: Path, wanted: Wanted, learning: Calibrating, *, quiet: bool
) -> Job:
    """Which tensor gets which scheme, with warnings of what may not be meant."""
    from refquant.cli.source import open_source
    from refquant.library import resolve
    from refquant.quantization.rotation import rotated_checkpoint
    from refquant.recipe import assign

    recipe_for = prepare(wanted, quiet=quiet)
    path = resolve(source)
    _check_ending(output)
    check_output(output, [path])
    checkpoint = open_source(path)
    recipe = with_algorithm(recipe_for(checkpoint), learning)
    checkpoint = rotated_checkpoint(checkpoint, recipe.rotation)
    assignments = assign(checkpoint, recipe)
    _warn_of_second_errors(assignments)
    is_file = Path(str(wanted.recipe)).is_file()
    _warn_of_doubts(assignments, recipe, None if is_file else len(wanted.tensor_type))
    return Job(path, output, checkpoint, assignments, recipe)


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
