"""What `refquant quantize` does once it knows what: the file, and reports of what was lost."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refquant.cli.destination import explained
from refquant.cli.output import printable
from refquant.cli.progress import advancing, progress
from refquant.cli.quantize_options import Work

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.quantization import Knowledge
    from refquant.recipe import Assignments, Recipe

__all__ = ["Job", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """What came out: the digest that pins the file, its size, and how long it took."""

    root: str
    nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is known before the work begins."""

    source: Path
    output: Path
    checkpoint: "Checkpoint"
    assignments: "Assignments"
    recipe: "Recipe"

    def run(
        self, knowledge: "Knowledge", work: Work, *, form: Mapping[str, Any], quiet: bool
    ) -> Result:
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
        return Result(root, stored_bytes(self.output), time.perf_counter() - began)

    def write_reports(
        self, paths: Sequence[Path], knowledge: "Knowledge", result: Result, *, quiet: bool
    ) -> None:
        """Compare the file with its source, and write what was found in each form."""
        from json import dumps

        from refquant.formats import open_checkpoint
        from refquant.formats.rq import atomic_file
        from refquant.quantization.errors_of import errors_of, report_data
        from refquant.quantization.report_page import report_page

        total = sum(one.weights for one in self.assignments)
        with progress("measuring", total, quiet=quiet) as meter:
            made = open_checkpoint(self.output)
            told = advancing(meter)
            errors = list(errors_of(self.checkpoint, made, self.assignments, knowledge.folds, told))
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
