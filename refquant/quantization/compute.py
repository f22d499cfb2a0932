"""Under which contract each matrix of a planned file is multiplied."""

from collections.abc import Iterable

from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import compute_contracts, compute_extension
from refquant.recipe import Assignment

__all__ = ["planned_contracts"]


def planned_contracts(
    checkpoint: Checkpoint, assignments: Iterable[Assignment]
) -> dict[str, object]:
    """The extension that says how matrices are computed with; empty where all are weight-only.

    A rule decides about the tensors that it took. A tensor that no rule took keeps its contract
    while it keeps its bytes.
    """
    before = compute_contracts(checkpoint.extensions, checkpoint.tensors)
    contracts = {
        one.tensor: one.activation if one.rule is not None else before.get(one.tensor, "")
        for one in assignments
        if len(one.shape) > 1 and (one.rule is not None or one.is_untouched)
    }
    return compute_extension({name: found for name, found in contracts.items() if found})
