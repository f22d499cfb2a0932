"""Under which contract each matrix of a planned file is multiplied."""

from collections.abc import Iterable, Mapping

from refquant.arithmetic.precision import PRECISIONS
from refquant.arithmetic.static import STATIC, StaticParameters
from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import (
    MatrixContract,
    compute_contracts,
    compute_extension,
    compute_precision,
)
from refquant.recipe import Assignment
from refquant.recipe.roles import role_of

__all__ = ["planned_contracts"]


def planned_contracts(
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    static: Mapping[str, StaticParameters] | None = None,
) -> dict[str, object]:
    """The extension that says how matrices are computed with; empty where all are weight-only.

    A rule decides about the tensors that it took. A tensor that no rule took keeps its contract
    while it keeps its bytes. The precision is the recipe's if it names one. `static` are the
    parameters that were calibrated, by tensor; where a rule asks for a static contract and there
    are none, that is a UsageError.
    """
    before = compute_contracts(checkpoint.extensions, checkpoint.tensors)
    precision = compute_precision(checkpoint.extensions)
    contracts: dict[str, MatrixContract] = {}
    for one in assignments:
        precision = next((known for known in PRECISIONS if known == one.precision), precision)
        if len(one.shape) < 2:
            continue
        if one.rule is None:
            if one.is_untouched and one.tensor in before:
                contracts[one.tensor] = before[one.tensor]
        elif one.activation and not _is_only_read(one, checkpoint):
            contracts[one.tensor] = _contract(one, (static or {}).get(one.tensor))
    return compute_extension(contracts, precision)


def _is_only_read(assignment: Assignment, checkpoint: Checkpoint) -> bool:
    """Whether rows of a matrix are looked up and never multiplied: nothing is calibrated for it."""
    is_embedding = role_of(assignment.tensor) == "embedding"
    is_head = assignment.tensor == "token_embd.weight" and "output.weight" not in checkpoint.tensors
    return assignment.activation in STATIC and is_embedding and not is_head


def _contract(assignment: Assignment, parameters: StaticParameters | None) -> MatrixContract:
    name = assignment.activation
    if name in STATIC and parameters is None:
        raise UsageError(
            f"{assignment.tensor} is to be computed under {name}, whose scales come from a text: "
            "name one with --calibrate"
        )
    return MatrixContract(name, parameters)
