"""Wrong variants of whole operations: requantization, products, rows, readers of files.

Wrong variants of schemes are in `mutants/schemes`; `generators/kill_matrix.py` runs both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from refquant.conformance.operations import Arrays, Task

__all__ = ["OperationMutant"]


@dataclass(frozen=True, slots=True)
class OperationMutant:
    """A wrong variant of an operation; `registry/reports.toml` has where somebody shipped it."""

    id: str
    op: str
    change: str
    compute: Callable[[Task], Arrays]
    only: Mapping[str, str] | None = None

    def concerns(self, params: Mapping[str, Any]) -> bool:
        """Whether a case's parameters are those that the mistake is about."""
        return all(params.get(key) == value for key, value in (self.only or {}).items())
