"""The options of models that write by filling in masks, block by block."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.runtime import DiffusionOptions, Model

__all__ = ["MaskFilling", "diffusion_options"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class MaskFilling:
    """How masks are filled in, as options; what is left out is the runtime's own choice."""

    block: Annotated[
        int | None,
        Parameter(
            help="Of models that fill in masks (Dream, LLaDA, SDAR): tokens of a block. "
            "[default: the model's own, or 32]"
        ),
    ] = None
    passes: Annotated[
        int | None,
        Parameter(help="Masks: passes planned for a block. [default: one for each token]"),
    ] = None
    threshold: Annotated[
        float | None,
        Parameter(help="Masks: fill one as soon as its confidence is above. [default: 0.95]"),
    ] = None
    confidence: Annotated[
        Literal["probability", "margin", "entropy"] | None,
        Parameter(help="Masks: what confidence is. [default: probability]"),
    ] = None
    keep_blocks: Annotated[
        bool, Parameter(help="Masks: compute a finished block once, unaware of later ones.")
    ] = False


def diffusion_options(filling: MaskFilling, model: "Model") -> "DiffusionOptions | None":
    """What the runtime takes; None for a model that fills in no masks.

    Raises UsageError where such an option was given to a model that has no use for it.
    """
    from refquant.runtime import DiffusionOptions

    given = {name: getattr(filling, name) for name in MaskFilling.__slots__}
    given = {
        name: value for name, value in given.items() if value is not None and value is not False
    }
    if model.fills_masks:
        return DiffusionOptions(**given)
    if given:
        option = next(iter(given)).replace("_", "-")
        raise UsageError(
            f"--{option} is for models that fill in masks; one of family "
            f"{model.architecture.family} writes a token after the other"
        )
    return None
