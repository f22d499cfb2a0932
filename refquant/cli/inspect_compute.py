"""How a model file says that it is computed, as far as it says it rightly."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from refquant.cli.output import printable
from refquant.errors import RefquantError

if TYPE_CHECKING:
    from refquant.cli.summary import Summary
    from refquant.formats.compute import MatrixContract

__all__ = ["contract_counts", "matrix_contracts", "precision_of"]


def contract_counts(found: "Summary") -> dict[str, int]:
    """How many tensors are multiplied under each contract; the others are weight-only."""
    return {
        printable(str(name)): len(listed)
        for name, listed in _computing(found).items()
        if isinstance(listed, Sequence) and not isinstance(listed, str | bytes)
    }


def matrix_contracts(found: "Summary") -> Mapping[str, "MatrixContract"]:
    """The contract of each tensor that has one; none where the file does not say it rightly."""
    from refquant.formats.compute import compute_contracts

    if found.checkpoint is None:
        return {}
    try:
        return compute_contracts(found.checkpoint.extensions, found.checkpoint.tensors)
    except RefquantError:
        return {}


def precision_of(found: "Summary") -> str | None:
    """The type of the model's own numbers, where the file names one."""
    named = _computing(found).get("precision")
    return printable(named) if isinstance(named, str) else None


def _computing(found: "Summary") -> Mapping[str, object]:
    """What the file says of how it is computed, as far as it has the right form."""
    from refquant.formats.compute import COMPUTE_EXTENSION

    if found.checkpoint is None:
        return {}
    entry = found.checkpoint.extensions.get(COMPUTE_EXTENSION)
    data = entry.get("data") if isinstance(entry, Mapping) else None
    return data if isinstance(data, Mapping) else {}
