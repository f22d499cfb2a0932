"""The options that say which scheme for which tensor, in our own words and in those of others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from refquant.cli.target_options import override_rules, target_of, targeted_recipe
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.recipe import Recipe

__all__ = ["Wanted", "prepare"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scheme for which tensor: a scheme, a recipe of whatever origin, or a target."""

    scheme: Annotated[
        str | None, Parameter(help="A scheme (see `refquant schemes`), or keep: convert only.")
    ] = None
    recipe: Annotated[
        str | None,
        Parameter(help="A TOML or JSON file of rules, or a name such as Q4_K_M or dynamic_int8."),
    ] = None
    quantize: Annotated[
        str | None,
        Parameter(name=["--quantize", "--quant"], help="torchchat's dictionary, or a file of it."),
    ] = None
    compression_method: Annotated[
        str | None,
        Parameter(
            name=["--compression-method", "-c"], help="torch-to-nnef's, such as min_max_q4_0_all."
        ),
    ] = None
    compression_registry: Annotated[
        str | None,
        Parameter(help="Where --compression-method is looked up: package.module.DICT."),
    ] = None
    target_size: Annotated[
        str | None,
        Parameter(
            help="Choose schemes by measured errors so that the raw file has at most this size."
        ),
    ] = None
    target_bits_per_weight: Annotated[
        float | None,
        Parameter(
            name="--target-bpw", help="The same with bits per weight over all tensors, such as 4.5."
        ),
    ] = None
    candidates: Annotated[
        tuple[str, ...],
        Parameter(help="With a target: schemes to choose from. [default: ggml's from 2 to 8 bits]"),
    ] = ()
    embedding_scheme: Annotated[
        str | None,
        Parameter(help="With --scheme: another for the token embedding and the output head."),
    ] = None
    tensor_type: Annotated[
        tuple[str, ...],
        Parameter(help="REGEX=SCHEME for tensors whose name it matches; may be repeated."),
    ] = ()


Prepared = Callable[["Checkpoint"], "Recipe"]


def prepare(wanted: Wanted, *, quiet: bool = False) -> Prepared:
    """Check everything that can be checked without the model; the rest waits for it."""
    given = [
        option
        for option, value in (
            ("--scheme", wanted.scheme),
            ("--recipe", wanted.recipe),
            ("--quantize", wanted.quantize),
            ("--compression-method", wanted.compression_method),
            ("--target-size", wanted.target_size),
            ("--target-bpw", wanted.target_bits_per_weight),
        )
        if value is not None
    ]
    if len(given) != 1:
        found = f" and not {' and '.join(given)}" if given else ""
        expected = (
            "one of --scheme, --recipe, --quantize, --compression-method, --target-size or "
            "--target-bpw"
        )
        raise UsageError(f"quantize needs {expected}{found}. See `refquant quantize --help`.")
    if wanted.embedding_scheme is not None and wanted.scheme is None:
        raise UsageError(f"--embedding-scheme goes with --scheme; {given[0]} says what ends get")
    if wanted.compression_registry is not None and wanted.compression_method is None:
        raise UsageError("--compression-registry goes with --compression-method")
    if wanted.target_size is not None or wanted.target_bits_per_weight is not None:
        target = target_of(wanted.target_size, wanted.target_bits_per_weight)
        rules = override_rules(wanted.tensor_type)
        return lambda checkpoint: targeted_recipe(
            checkpoint, target, wanted.candidates, rules, quiet=quiet
        )
    if wanted.candidates:
        raise UsageError("--candidates goes with --target-size or --target-bpw")
    overridden = _overridden(wanted.tensor_type)
    made = _made(wanted)
    return lambda checkpoint: overridden(made(checkpoint))


def _made(wanted: Wanted) -> Prepared:
    """The recipe before overrides, as far as it can be made already."""
    from refquant.recipe import uniform_recipe
    from refquant.upstream.facts import facts_of
    from refquant.upstream.torch_to_nnef import compression_recipe
    from refquant.upstream.torchchat import torchchat_recipe

    if wanted.scheme is not None:
        fixed = uniform_recipe(wanted.scheme, wanted.embedding_scheme)
    elif wanted.quantize is not None:
        fixed = torchchat_recipe(wanted.quantize)
    elif wanted.recipe is not None:
        return _named_or_read(wanted.recipe)
    else:
        name, registry = str(wanted.compression_method), wanted.compression_registry
        return lambda checkpoint: compression_recipe(name, facts_of(checkpoint), registry or "")
    return lambda _checkpoint: fixed


def _named_or_read(text: str) -> Prepared:
    """A file if there is one; else a known name."""
    from refquant.recipe import read_recipe
    from refquant.upstream.ai_edge_quantizer import read_quantizer_recipe
    from refquant.upstream.facts import ModelFacts, facts_of
    from refquant.upstream.names import recipe_named

    path = Path(text)
    if path.is_file():
        # A list is AI Edge Quantizer's form; ours is an object.
        is_list = path.suffix == ".json" and path.read_bytes()[:64].lstrip().startswith(b"[")
        read = read_quantizer_recipe(path) if is_list else read_recipe(path)
        return lambda _checkpoint: read
    if path.suffix in (".toml", ".json"):
        raise UsageError(f"--recipe {text}: there is no such file")
    recipe_named(text, ModelFacts())
    return lambda checkpoint: recipe_named(text, facts_of(checkpoint))


def _overridden(tensor_types: tuple[str, ...]) -> Callable[["Recipe"], "Recipe"]:
    """Put rules for single tensors before all others."""
    from msgspec.structs import replace

    rules = override_rules(tensor_types)
    return lambda recipe: replace(recipe, rules=(*rules, *recipe.rules))
