"""All mutants of operations."""

from conformance.mutants import OperationMutant, containers, integers, texts

__all__ = ["OPERATION_MUTANTS"]

OPERATION_MUTANTS: tuple[OperationMutant, ...] = (
    *integers.MUTANTS,
    *containers.MUTANTS,
    *texts.MUTANTS,
)
