"""All mutants of operations."""

from conformance.mutants import (
    OperationMutant,
    containers,
    integers,
    layers,
    models,
    shipped,
    texts,
)

__all__ = ["OPERATION_MUTANTS"]

OPERATION_MUTANTS: tuple[OperationMutant, ...] = (
    *integers.MUTANTS,
    *layers.MUTANTS,
    *models.MUTANTS,
    *containers.MUTANTS,
    *texts.MUTANTS,
    *shipped.DECODERS,
)
