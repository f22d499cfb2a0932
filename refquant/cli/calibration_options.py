"""The options that say from what an algorithm learns which errors matter, and the learning."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from refquant.cli.progress import progress
from refquant.cli.texts import read_text
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.arithmetic.static import StaticParameters
    from refquant.calibrate import RangeRule
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
        Literal["rtn", "percentile", "mse", "octav", "hqq", "imatrix", "gptq", "awq", "smoothquant"]
        | None,
        Parameter(help="How codes are chosen, where the recipe does not say."),
    ] = None
    algorithm_option: Annotated[
        tuple[str, ...], Parameter(help="NAME=VALUE of the algorithm, such as alpha=0.8; repeat.")
    ] = ()
    calibration: Annotated[
        Path | None,
        Parameter(
            name=["--calibration", "--calibrate"],
            help="A UTF-8 text that the model reads: for gptq, awq, imatrix, smoothquant.",
        ),
    ] = None
    calibration_windows: Annotated[
        int | None,
        Parameter(help="Read at most this many windows of 512 tokens. [default: 32]"),
    ] = None
    imatrix: Annotated[
        Path | None, Parameter(help="llama.cpp's importance matrix, for imatrix.")
    ] = None
    rotation: Annotated[
        Literal["hadamard"] | None,
        Parameter(help="Turn what runs through the layers by Hadamard matrices first."),
    ] = None
    activation_range: Annotated[
        Literal["minmax", "moving_average", "percentile", "entropy"] | None,
        Parameter(
            help="How static scales of activations follow from what the model reads. "
            "[default: moving_average]"
        ),
    ] = None
    activation_percentile: Annotated[
        float | None,
        Parameter(
            help="With --activation-range percentile: how many percent stay inside. "
            "[default: 99.999]"
        ),
    ] = None

    @property
    def windows(self) -> int:
        """How many windows of the text are read."""
        return 32 if self.calibration_windows is None else self.calibration_windows

    @property
    def range_rule(self) -> "RangeRule":
        """How the range of an activation follows from samples of it."""
        from refquant.calibrate import RangeRule

        rule = RangeRule(self.activation_range or RangeRule().name)
        given = self.activation_percentile
        return rule if given is None else replace(rule, percentile=given)


def with_algorithm(recipe: "Recipe", asked: Calibrating) -> "Recipe":
    """The recipe whose rules choose codes as asked, where they do not say it themselves.

    The ends of a model have no inputs to learn from (a token's row is read as it is), or none
    that pay.
    """
    from msgspec.structs import replace as changed

    from refquant.recipe import KEEP, check_recipe

    recipe = changed(recipe, rotation=asked.rotation or recipe.rotation)
    if asked.imatrix is not None and asked.algorithm is None:
        return with_algorithm(recipe, replace(asked, algorithm="imatrix"))
    if asked.algorithm is None:
        if asked.algorithm_option:
            raise UsageError("--algorithm-option goes with --algorithm")
        return recipe
    options = _options(asked)

    def learns(rule: "Rule") -> bool:
        ends = set(rule.roles) & {"embedding", "head"}
        return rule.algorithm == "rtn" and rule.scheme != KEEP and not ends

    rules = tuple(
        changed(rule, algorithm=asked.algorithm, options=options) if learns(rule) else rule
        for rule in recipe.rules
    )
    found = changed(recipe, rules=rules)
    check_recipe(found, "--algorithm")
    return found


def _options(asked: Calibrating) -> dict[str, bool | int | float | str]:
    """NAME=VALUE as numbers where they are such; the recipe's checks say what is wrong."""
    from msgspec.json import decode

    found: dict[str, bool | int | float | str] = {}
    for text in asked.algorithm_option:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--algorithm-option {text!r}: expected NAME=VALUE")
        try:
            found[name] = decode(value, type=bool | int | float)
        except ValueError:
            found[name] = value
    return found


def learn(
    checkpoint: "Checkpoint",
    assignments: "Sequence[Assignment]",
    asked: Calibrating,
    *,
    quiet: bool,
) -> "Knowledge":
    """What the assignments' algorithms need to know, read from a file or from a text."""
    from refquant.quantization import Knowledge
    from refquant.quantization.algorithms import FOLDING, LEARNING, check_algorithms
    from refquant.quantization.folding import folded_importance
    from refquant.quantization.importance_file import read_importance
    from refquant.quantization.ranges import needs_ranges

    check_algorithms(assignments)
    algorithms = {one.algorithm for one in assignments} & LEARNING
    static = needs_ranges(assignments)
    _check(algorithms, asked, static)
    importance = {} if asked.imatrix is None else read_importance(asked.imatrix)
    if asked.calibration is None:
        source = {} if asked.imatrix is None else _source(asked.imatrix)
        return Knowledge(importance=importance, source=source)
    products = bool(algorithms & {"gptq", "awq"})
    moments = _moments(checkpoint, asked, products=products, quiet=quiet) if algorithms else {}
    folds = _folds(checkpoint, assignments, moments, quiet=quiet) if algorithms & FOLDING else {}
    ranges = _static(checkpoint, assignments, folds, asked, quiet=quiet) if static else {}
    record = {**_source(asked.calibration), "windows": asked.windows}
    if asked.imatrix is not None:
        record["imatrix"] = _source(asked.imatrix)
    if static:
        record["activation_range"] = asked.range_rule.name
    importance = importance or {name: one.importance for name, one in moments.items()}
    return Knowledge(
        moments=moments,
        importance=folded_importance(importance, folds),
        folds=folds,
        static=ranges,
        source=record,
    )


def _source(path: Path) -> dict[str, object]:
    """A file's name, size and digest, for the record of where a model came from."""
    from hashlib import sha256

    data = path.read_bytes()
    return {"name": path.name, "bytes": len(data), "sha256": sha256(data).hexdigest()}


def _check(algorithms: AbstractSet[str], asked: Calibrating, static: Sequence[str]) -> None:
    missing, by_text = asked.calibration is None, sorted(algorithms - {"imatrix"})
    if missing and static:
        raise UsageError(
            f"static activations ({static[0]} and others) have scales that are found on a text: "
            "--calibrate FILE"
        )
    if missing and by_text:
        verb = "learns" if len(by_text) == 1 else "learn"
        raise UsageError(f"{' and '.join(by_text)} {verb} from a text: --calibration FILE")
    if missing and asked.imatrix is None and algorithms:
        raise UsageError(
            "imatrix needs --imatrix FILE, or a text to learn from: --calibration FILE"
        )
    for option, path in (("--calibration", asked.calibration), ("--imatrix", asked.imatrix)):
        if path is not None and not path.is_file():
            raise UsageError(f"{option} {path}: there is no such file")
        if path is not None and not algorithms and not static:
            raise UsageError(f"{option} is given, and no rule has an algorithm that learns from it")
    if asked.imatrix is not None and "imatrix" not in algorithms:
        raise UsageError("--imatrix is given, and no rule has the algorithm imatrix")
    if asked.activation_range is not None and not static:
        raise UsageError("--activation-range is given, and no rule has static activations")
    if asked.activation_percentile is not None and asked.activation_range != "percentile":
        raise UsageError("--activation-percentile goes with --activation-range percentile")
    if asked.calibration_windows is not None and missing:
        raise UsageError("--calibration-windows goes with --calibration")
    if asked.windows < 1:
        raise UsageError(f"--calibration-windows is {asked.windows}, expected 1 or more")


def _text(asked: Calibrating) -> str:
    return read_text(Path(str(asked.calibration)), "the text of --calibration")


def _moments(
    checkpoint: "Checkpoint", asked: Calibrating, *, products: bool, quiet: bool
) -> "dict[str, InputMoments]":
    from refquant.quantization.inputs import collect_inputs
    from refquant.runtime import Tokenizer, load_model

    text, count = _text(asked), asked.windows
    model = load_model(checkpoint, compute="weight-only")
    ids = Tokenizer(checkpoint.need_tokenizer()).encode(text, add_bos=False)
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
    from refquant.quantization.folding import folds_of

    with progress("searching scales", 1, quiet=quiet):
        return folds_of(checkpoint, assignments, moments)


def _static(
    checkpoint: "Checkpoint",
    assignments: "Sequence[Assignment]",
    folds: "dict[str, Fold]",
    asked: Calibrating,
    *,
    quiet: bool,
) -> "dict[str, StaticParameters]":
    """The scales of activations, of the model as it is once scales are folded into it."""
    from refquant.quantization.folding import folded
    from refquant.quantization.inputs import cut_windows
    from refquant.quantization.ranges import calibrated, collect_ranges, needs_ranges
    from refquant.runtime import Tokenizer, load_model

    text, count = _text(asked), asked.windows
    model = load_model(folded(checkpoint, folds), compute="weight-only")
    ids = Tokenizer(checkpoint.need_tokenizer()).encode(text, add_bos=False)
    batches = cut_windows(model, ids, 512, count)
    with progress("measuring activations", len(batches), quiet=quiet) as meter:
        ranges = collect_ranges(
            model,
            batches,
            asked.range_rule,
            names=needs_ranges(assignments),
            progress=lambda _done, _all: meter.advance(1),
        )
    return calibrated(assignments, ranges)
