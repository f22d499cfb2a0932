"""The file of a checkpoint whose tensors got their assigned schemes, tensor by tensor."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic.static import StaticParameters
from refquant.driver import Scheme
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import COMPUTE_EXTENSION
from refquant.formats.mapped import let_go
from refquant.formats.rq import Plan, PlannedTensor
from refquant.formats.rq.plan import Buffer
from refquant.quantization.algorithms import encoded
from refquant.quantization.compute import planned_contracts
from refquant.quantization.folding import Fold
from refquant.quantization.inputs import InputMoments
from refquant.recipe import Assignment
from refquant.recipe.assignment import subject
from refquant.schemes import scheme as find_scheme
from refquant.schemes.storage import layout_of
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["Knowledge", "is_made", "planned_tensor", "quantized_plan"]

Planes = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What algorithms know beside the weights, by tensor name.

    `moments` are of the matrices' inputs (GPTQ), `importance` the mean squares of these (an
    importance matrix), `folds` the scales that AWQ or SmoothQuant
    found, `static` the scales of activations. `source` says where all of it came from.
    """

    moments: Mapping[str, InputMoments] = field(default_factory=dict)
    importance: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    folds: Mapping[str, Fold] = field(default_factory=dict)
    static: Mapping[str, StaticParameters] = field(default_factory=dict)
    source: Mapping[str, object] = field(default_factory=dict)

    def only(self, name: str) -> "Knowledge":
        """What is known of one tensor."""
        return Knowledge(
            moments={name: self.moments[name]} if name in self.moments else {},
            importance={name: self.importance[name]} if name in self.importance else {},
            folds={name: self.folds[name]} if name in self.folds else {},
        )

    def encoded(
        self,
        weights: NDArray[np.float32],
        assignment: Assignment,
        target: Scheme,
        threads: int | None,
    ) -> QuantizedTensor:
        """The weights under their scheme, by their algorithm, or by RTN where nothing is known."""
        name = assignment.tensor
        return encoded(
            weights,
            target,
            assignment.algorithm,
            assignment.options,
            moments=self.moments.get(name),
            importance=self.importance.get(name),
            threads=threads,
        )


def quantized_plan(
    checkpoint: Checkpoint,
    assignments: Iterable[Assignment],
    *,
    info: Mapping[str, object],
    knowledge: Knowledge | None = None,
    threads: int | None = None,
    started: Callable[[str], None] | None = None,
    made: Callable[[str], Planes] | None = None,
) -> Plan:
    """The `.rq` file of a checkpoint whose tensors got their assigned schemes.

    `knowledge` is what algorithms other than RTN ask for.

    No weight is read before the writer asks for its tensor; then `started` is called with the
    tensor's name, and the tensor is the only one in memory. `made` gives the planes of tensors
    that are made elsewhere (see `executors.py`); those that keep their bytes are read here.
    """
    known = knowledge or Knowledge()
    decided = tuple(assignments)
    tensors = tuple(
        _announced(
            planned_tensor(checkpoint.tensors, one, known, threads),
            started or _ignore,
            made if is_made(one, known) else None,
        )
        for one in decided
    )
    extensions = _of_the_model(checkpoint.extensions) | planned_contracts(
        checkpoint, decided, known.static
    )
    return Plan(
        tensors=tensors,
        architecture=checkpoint.architecture,
        aliases=checkpoint.aliases,
        tokenizer=checkpoint.tokenizer,
        documents=checkpoint.documents,
        info=info,
        extensions=extensions,
        chat=checkpoint.chat,
    )


def _of_the_model(extensions: Mapping[str, object]) -> dict[str, object]:
    """The extensions that do not say of themselves that they follow the tensors' bytes."""
    return {
        name: entry
        for name, entry in extensions.items()
        if not (isinstance(entry, Mapping) and "follows" in entry) and name != COMPUTE_EXTENSION
    }


def _ignore(_name: str) -> None:
    return


def is_made(assignment: Assignment, known: Knowledge) -> bool:
    """Whether a tensor's planes are made, and not those that it has."""
    return not assignment.is_untouched or assignment.tensor in known.folds


def _announced(
    planned: PlannedTensor,
    started: Callable[[str], None],
    made: Callable[[str], Planes] | None,
) -> PlannedTensor:
    """The same, which says when its planes are asked for."""

    def produce() -> Mapping[str, Buffer | Iterable[Buffer]]:
        started(planned.name)
        return planned.produce() if made is None else made(planned.name)

    return replace(planned, produce=produce)


def planned_tensor(
    tensors: Mapping[str, QuantizedTensor],
    assignment: Assignment,
    known: Knowledge,
    threads: int | None,
) -> PlannedTensor:
    """One tensor of a file, under its assigned scheme."""
    # Only names and layouts are kept until then: a compressed tensor would stay decompressed.
    stored = subject(tensors, assignment.tensor)
    fold = known.folds.get(assignment.tensor)
    kept = not is_made(assignment, known)
    target = stored.scheme if kept else find_scheme(assignment.target_scheme)
    if fold is not None and assignment.is_untouched:
        # A norm that took scales in: half the bits would lose what the scales were found for.
        target = find_scheme("float/f32")

    def produce() -> Mapping[str, NDArray[np.uint8]]:
        source = tensors[assignment.tensor]
        if kept:
            return source.planes
        weights = source.dequantize(threads=threads)
        for plane in source.planes.values():
            let_go(plane)
        if assignment.precision:
            weights = quantize(weights, assignment.precision, threads=threads).dequantize()
        if fold is not None:
            weights = fold.applied(weights)
        return known.encoded(weights, assignment, target, threads).planes

    layout = stored.layout if kept else layout_of(target)
    return PlannedTensor(assignment.tensor, layout, stored.shape, produce, target.name)
