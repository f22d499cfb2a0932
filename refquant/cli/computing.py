"""How a model computes, as options that commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from refquant.cli.processes import Workers, choose_workers

if TYPE_CHECKING:
    from refquant.formats import Checkpoint
    from refquant.runtime import Model

__all__ = ["CacheTypes", "Computing", "Precisions", "compute_of", "loaded"]

Precisions = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    Parameter(
        help="Round states and float weights to this type, in place of the file's. "
        "[default: the file's, or float32]"
    ),
]

CacheTypes = Annotated[
    Literal["float32", "float16", "int8"],
    Parameter(help="How keys and values of earlier tokens are kept."),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Computing:
    """How the model computes, as options."""

    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(
            help="Decode weights once (float32), keep a byte for each where they are integers with "
            "scales (u8), or half a byte where that is enough (packed: least memory); auto: u8 or "
            "float32, matrix by matrix."
        ),
    ] = "auto"
    workers: Workers = None
    arith: Annotated[
        Literal["fast", "exact"],
        Parameter(help="How sums are rounded: exact gives the same bits on every machine."),
    ] = "fast"
    compute: Annotated[
        str | None,
        Parameter(
            help="Multiply under this contract, or weight-only, in place of what the file says: "
            "litert_symmetric, litert_asymmetric, xnnpack_asymmetric, torchao_per_token, "
            "ggml_block, ggml_x86; int8_static, int16_static and the like where the file has "
            "their scales."
        ),
    ] = None
    precision: Precisions = None
    cache_type: CacheTypes = "float32"
    trace: Annotated[
        Path | None,
        Parameter(help="Write every layer's states to a .npz or .rq file."),
    ] = None
    save_cache: Annotated[
        Path | None,
        Parameter(help="Keep what was computed of the prompt and its continuation in a file."),
    ] = None
    load_cache: Annotated[
        Path | None,
        Parameter(help="Begin with what such a file has of the prompt's first tokens."),
    ] = None


def loaded(checkpoint: "Checkpoint", computing: Computing) -> "Model":
    """The model, its weights held and its products shared as the options say."""
    from refquant.runtime import load_model

    return load_model(
        checkpoint,
        computing.weights,
        computing.arith,
        computing.compute,
        workers=choose_workers(computing.workers, checkpoint),
        precision=computing.precision,
        cache_type=computing.cache_type,
    )


def compute_of(model: "Model", asked: str | None) -> str | None:
    """What was asked for, or the contracts of the file; None where it has none."""
    from refquant.formats.compute import compute_contracts

    if asked is not None:
        return asked
    contracts = compute_contracts(model.checkpoint.extensions, model.checkpoint.tensors)
    return ", ".join(sorted({one.name for one in contracts.values()})) or None
