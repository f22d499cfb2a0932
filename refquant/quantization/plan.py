"""The file of a checkpoint whose tensors got their assigned schemes, tensor by tensor."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import Plan, PlannedTensor
from refquant.recipe import Assignment
from refquant.recipe.assignment import subject
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["quantized_plan"]


def quantized_plan(
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    *,
    info: Mapping[str, object],
    threads: int | None = None,
    started: Callable[[str], None] | None = None,
) -> Plan:
    """The `.rq` file of a checkpoint whose tensors got their assigned schemes.

    No weight is read before the writer asks for its tensor; then `started` is called with the
    tensor's name, and the tensor is the only one in memory.
    """
    tensors = tuple(
        _planned(checkpoint.tensors, one, threads, started or _ignore) for one in assignments
    )
    return Plan(
        tensors=tensors,
        architecture=checkpoint.architecture,
        aliases=checkpoint.aliases,
        tokenizer=checkpoint.tokenizer,
        documents=checkpoint.documents,
        info=info,
        extensions=_of_the_model(checkpoint.extensions),
        chat=checkpoint.chat,
    )


def _of_the_model(extensions: Mapping[str, object]) -> dict[str, object]:
    """The extensions that do not say of themselves that they follow the tensors' bytes."""
    return {
        name: entry
        for name, entry in extensions.items()
        if not (isinstance(entry, Mapping) and "follows" in entry)
    }


def _ignore(_name: str) -> None:
    return


def _planned(
    tensors: Mapping[str, QuantizedTensor],
    assignment: Assignment,
    threads: int | None,
    started: Callable[[str], None],
) -> PlannedTensor:
    # Only names and layouts are kept until then: a compressed tensor would stay decompressed.
    stored = subject(tensors, assignment.tensor)
    kept = assignment.is_untouched
    target = stored.scheme if kept else find_scheme(assignment.target_scheme)

    def produce() -> Mapping[str, NDArray[np.uint8]]:
        started(assignment.tensor)
        source = tensors[assignment.tensor]
        if kept:
            return source.planes
        weights = source.dequantize(threads=threads)
        if assignment.precision:
            weights = quantize(weights, assignment.precision, threads=threads).dequantize()
        return quantize(weights, target, threads=threads).planes

    layout = stored.layout if kept else target.layout
    return PlannedTensor(assignment.tensor, layout, stored.shape, produce, target.name)
