"""Under which contract each matrix of a planned file is multiplied."""

from collections.abc import Iterable, Mapping

from refquant.arithmetic.static import STATIC, StaticParameters
from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import MatrixContract, compute_contracts, compute_extension
from refquant.recipe import Assignment

__all__ = ["planned_contracts"]


def planned_contracts(
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    static: Mapping[str, StaticParameters] | None = None,
) -> dict[str, object]:
    """The extension that says how matrices are computed with; empty where all are weight-only.

    A rule decides about the tensors that it took. A tensor that no rule took keeps its contract
    while it keeps its bytes. `static` are the parameters that were calibrated, by tensor; where a
    rule asks for a static contract and there are none, that is a UsageError.
    """
    before = compute_contracts(checkpoint.extensions, checkpoint.tensors)
    contracts: dict[str, MatrixContract] = {}
    for one in assignments:
        if len(one.shape) < 2:
            continue
        if one.rule is None:
            if one.is_untouched and one.tensor in before:
                contracts[one.tensor] = before[one.tensor]
        elif one.activation:
            contracts[one.tensor] = _contract(one, (static or {}).get(one.tensor))
    return compute_extension(contracts)


def _contract(assignment: Assignment, parameters: StaticParameters | None) -> MatrixContract:
    name = assignment.activation
    if name in STATIC and parameters is None:
        raise UsageError(
            f"{assignment.tensor} is to be computed under {name}, whose scales come from a text: "
            "name one with --calibrate"
        )
    return MatrixContract(name, parameters)
