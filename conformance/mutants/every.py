"""All mutants of operations."""

from conformance.mutants import (
    OperationMutant,
    block_readers,
    containers,
    free,
    integers,
    layers,
    models,
    shipped,
    tables,
    texts,
)

__all__ = ["OPERATION_MUTANTS"]

OPERATION_MUTANTS: tuple[OperationMutant, ...] = (
    *integers.MUTANTS,
    *layers.MUTANTS,
    *free.MUTANTS,
    *tables.MUTANTS,
    *models.MUTANTS,
    *containers.MUTANTS,
    *texts.MUTANTS,
    *shipped.DECODERS,
    *block_readers.MUTANTS,
)
