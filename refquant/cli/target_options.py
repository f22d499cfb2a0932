"""What `--target-size` and `--target-bpw` mean, checked before the model is opened and after."""

import math
import sys
from typing import TYPE_CHECKING

from refquant.cli.destination import parse_bytes
from refquant.cli.output import format_bytes
from refquant.cli.progress import advancing, progress
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.quantization.target import Reach, Target
    from refquant.recipe import Recipe, Rule

__all__ = ["override_rules", "target_of", "targeted_recipe"]


def override_rules(tensor_types: tuple[str, ...]) -> "tuple[Rule, ...]":
    """The rules of `--tensor-type`, checked."""
    from refquant.recipe import Recipe, check_recipe
    from refquant.upstream.llama_cpp import tensor_type_rules

    rules = tensor_type_rules(tensor_types)
    if rules:
        check_recipe(Recipe(rules=rules), "--tensor-type")
    return rules


def target_of(size: str | None, bits: float | None) -> "Target":
    """The target that was asked for."""
    from refquant.quantization.target import Target

    if bits is not None:
        if not (math.isfinite(bits) and bits > 0):
            raise UsageError(f"--target-bpw is {bits}, expected a number above 0 such as 4.5")
        return Target(bits=bits)
    return Target(nbytes=parse_bytes(str(size), "--target-size"))


def targeted_recipe(
    checkpoint: "Checkpoint",
    target: "Target",
    candidates: tuple[str, ...],
    before: "tuple[Rule, ...]",
    *,
    quiet: bool,
) -> "Recipe":
    """Measure every matrix, choose, and say on stderr how that came out."""
    from refquant.quantization.target import CANDIDATES, target_recipe
    from refquant.recipe import Recipe, Rule, check_recipe
    from refquant.recipe.assignment import subject

    chosen = candidates or CANDIDATES
    check_recipe(Recipe(rules=tuple(Rule(scheme=name) for name in chosen)), "--candidates")
    total = sum(math.prod(subject(checkpoint.tensors, n).shape) for n in checkpoint.tensors)
    with progress("measuring", total, quiet=quiet) as meter:
        recipe, reach = target_recipe(
            checkpoint,
            target,
            candidates=chosen,
            before=before,
            progress=advancing(meter),
        )
    if not quiet:
        print(f"refquant: {_told(target, reach)}", file=sys.stderr)
    return recipe


def _told(target: "Target", reach: "Reach") -> str:
    def shown(nbytes: int) -> str:
        if target.nbytes is not None:
            return format_bytes(nbytes)
        return f"{8 * nbytes / reach.weights:.3f} bits per weight"

    return (
        f"{shown(reach.chosen)} chosen; from {shown(reach.smallest)} to {shown(reach.largest)} "
        "can be reached"
    )
