"""The options that say from what an algorithm learns which errors matter, and the learning."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from refquant.cli.progress import progress
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.quantization import Knowledge
    from refquant.quantization.folding import Fold
    from refquant.quantization.inputs import InputMoments
    from refquant.recipe import Assignment, Recipe, Rule

__all__ = ["Calibrating", "learn", "with_algorithm"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Calibrating:
    """How codes are chosen, and from what the algorithm learns."""

    algorithm: Annotated[
        Literal["rtn", "imatrix", "gptq", "awq"] | None,
        Parameter(help="How codes are chosen, where the recipe does not say."),
    ] = None
    calibration: Annotated[
        Path | None, Parameter(help="A UTF-8 text that the model reads, for gptq, awq, imatrix.")
    ] = None
    calibration_windows: Annotated[
        int, Parameter(help="Read at most this many windows of 512 tokens.")
    ] = 32
    imatrix: Annotated[
        Path | None, Parameter(help="llama.cpp's importance matrix, for imatrix.")
    ] = None


def with_algorithm(recipe: "Recipe", asked: Calibrating) -> "Recipe":
    """The recipe whose rules choose codes as asked, where they do not say it themselves.

    The ends of a model have no inputs to learn from (a token's row is read as it is), or none
    that pay.
    """
    from msgspec.structs import replace

    from refquant.recipe import KEEP

    if asked.imatrix is not None and asked.algorithm is None:
        return with_algorithm(recipe, Calibrating("imatrix"))
    if asked.algorithm is None:
        return recipe

    def learns(rule: "Rule") -> bool:
        ends = set(rule.roles) & {"embedding", "head"}
        return rule.algorithm == "rtn" and rule.scheme != KEEP and not ends

    return replace(
        recipe,
        rules=tuple(
            replace(rule, algorithm=asked.algorithm) if learns(rule) else rule
            for rule in recipe.rules
        ),
    )


def learn(
    checkpoint: "Checkpoint",
    assignments: "Sequence[Assignment]",
    asked: Calibrating,
    *,
    quiet: bool,
) -> "Knowledge":
    """What the assignments' algorithms need to know, read from a file or from a text."""
    from refquant.quantization import Knowledge
    from refquant.quantization.importance_file import read_importance

    algorithms = {one.algorithm for one in assignments} - {"rtn"}
    _check(algorithms, asked)
    importance = {} if asked.imatrix is None else read_importance(asked.imatrix)
    if asked.calibration is None:
        source = {} if asked.imatrix is None else _source(asked.imatrix)
        return Knowledge(importance=importance, source=source)
    moments = _moments(checkpoint, asked, products=bool(algorithms & {"gptq", "awq"}), quiet=quiet)
    return Knowledge(
        moments=moments,
        importance=importance or {name: one.importance for name, one in moments.items()},
        folds=_folds(checkpoint, assignments, moments, quiet=quiet) if "awq" in algorithms else {},
        source={**_source(asked.calibration), "windows": asked.calibration_windows},
    )


def _source(path: Path) -> dict[str, object]:
    """A file's name, size and digest, for the record of where a model came from."""
    from hashlib import sha256

    data = path.read_bytes()
    return {"name": path.name, "bytes": len(data), "sha256": sha256(data).hexdigest()}


def _check(algorithms: AbstractSet[str], asked: Calibrating) -> None:
    missing = asked.calibration is None
    if missing and algorithms & {"gptq", "awq"}:
        raise UsageError(
            f"{' and '.join(sorted(algorithms))} learn from a text: --calibration FILE"
        )
    if missing and asked.imatrix is None and algorithms:
        raise UsageError(
            "imatrix needs --imatrix FILE, or a text to learn from: --calibration FILE"
        )
    for option, path in (("--calibration", asked.calibration), ("--imatrix", asked.imatrix)):
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path}: there is no such file")
        if path is not None and not algorithms:
            raise UsageError(f"{option} is given, and no rule has an algorithm that learns from it")
    if asked.calibration_windows < 1:
        raise UsageError(
            f"--calibration-windows is {asked.calibration_windows}, expected 1 or more"
        )


def _moments(
    checkpoint: "Checkpoint", asked: Calibrating, *, products: bool, quiet: bool
) -> "dict[str, InputMoments]":
    from refquant.quantization.inputs import collect_inputs
    from refquant.runtime import Tokenizer, load_model

    try:
        text = Path(str(asked.calibration)).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--calibration {asked.calibration}: not UTF-8 ({error})") from error
    model = load_model(checkpoint)
    ids = Tokenizer(checkpoint.need_tokenizer()).encode(text, add_bos=False)
    count = asked.calibration_windows
    with progress("calibrating", count, quiet=quiet) as meter:
        return collect_inputs(
            model,
            ids,
            windows=count,
            products=products,
            progress=lambda _done, _all: meter.advance(1),
        )


def _folds(
    checkpoint: "Checkpoint",
    assignments: "Sequence[Assignment]",
    moments: "dict[str, InputMoments]",
    *,
    quiet: bool,
) -> "dict[str, Fold]":
    from refquant.quantization.folding import awq_folds

    with progress("searching scales", 1, quiet=quiet):
        return awq_folds(checkpoint, assignments, moments)
