"""Options of `refquant quantize` beside schemes and form: who works, and what is printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.quantization.executors import Crew

__all__ = ["Printing", "Work"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Printing:
    """What is printed, as options."""

    json: Annotated[bool, Parameter(help="Print one JSON object instead of a table.")] = False
    quiet: Annotated[bool, Parameter(help="Print neither progress nor table.")] = False
    report: Annotated[
        tuple[Path, ...],
        Parameter(help="Measure errors and write them to this .html or .json; may be repeated."),
    ] = ()

    def check(self, *, dry_run: bool) -> None:
        """Refuse reports that could not be written."""
        if self.report and dry_run:
            raise UsageError("--report measures what was written, and --dry-run writes nothing")
        for path in self.report:
            if path.suffix.lower() not in (".html", ".json"):
                raise UsageError(f"--report {path}: expected a name that ends in .html or .json")
            if not path.parent.is_dir():
                raise UsageError(f"--report {path}: there is no folder {path.parent}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Work:
    """Who does the work, as options; the file is the same whoever does it."""

    jobs: Annotated[int | None, Parameter(help="Threads to use. [default: as many as pay]")] = None
    workers: Annotated[
        int | None, Parameter(help="Processes that share the work, with a thread each.")
    ] = None
    dask: Annotated[
        str | None,
        Parameter(help="Address of a Dask scheduler whose workers share it, as tcp://host:8786."),
    ] = None
    resume: Annotated[
        bool,
        Parameter(
            negative="",
            help="Go on with what a killed run left, and leave it when interrupted again.",
        ),
    ] = False

    @property
    def is_shared(self) -> bool:
        """Whether other processes take part."""
        return self.workers is not None or self.dask is not None

    def check(self) -> None:
        """Refuse what cannot be meant."""
        for option, number in (("--jobs", self.jobs), ("--workers", self.workers)):
            if number is not None:
                _check_count(option, number)
        if self.workers is not None and self.dask is not None:
            raise UsageError("--workers are of this machine and --dask has its own: give one")

    @contextmanager
    def crew(self) -> "Iterator[Crew | None]":
        """The workers, ready; None where this process does the work itself."""
        from refquant.quantization.crews import dask_crew, local_crew

        if self.dask is not None:
            with dask_crew(self.dask) as crew:
                yield crew
        elif self.workers is not None:
            with local_crew(self.workers) as crew:
                yield crew
        else:
            yield None


def _check_count(option: str, number: int) -> None:
    """Refuse what no machine can be meant to start."""
    from refquant.runtime.workers import MOST_PROCESSES, usable_processors

    here = usable_processors()
    most = max(MOST_PROCESSES, here)
    if number < 1:
        raise UsageError(f"{option} is {number}, expected 1 or more")
    if number > most:
        raise UsageError(
            f"{option} is {number}, expected at most {most}; more than the {here} processors here "
            "make nothing quicker"
        )
