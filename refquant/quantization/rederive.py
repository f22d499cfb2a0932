"""Making a quantized file again from its source, and comparing it tensor by tensor."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq.plan import Buffer
from refquant.quantization.algorithms import LEARNING
from refquant.quantization.plan import quantized_plan
from refquant.quantization.rotation import rotated_checkpoint
from refquant.recipe import Recipe, assign, recipe_from_data, uniform_recipe

__all__ = ["Rederived", "recorded_recipe", "rederive"]


class Rederived(NamedTuple):
    """One tensor made again: its bytes, and what differs from the file's; empty if nothing."""

    name: str
    nbytes: int
    difference: str


def recorded_recipe(provenance: object) -> Recipe:
    """The recipe that a file's provenance records; UnsupportedError if it records none."""
    found = provenance.get("recipe") if isinstance(provenance, Mapping) else None
    if not isinstance(found, Mapping):
        raise UnsupportedError("the file does not record the recipe by which it was made")
    if "rules" in found:
        return recipe_from_data(found, "the recorded recipe")
    # The first form of the record: the names of one or two schemes.
    embedding = found.get("embedding_scheme")
    return uniform_recipe(str(found.get("scheme")), None if embedding is None else str(embedding))


def rederive(
    made: Checkpoint, source: Checkpoint, recipe: Recipe, *, threads: int | None = None
) -> Iterator[Rederived]:
    """Quantize `source` by `recipe` and compare each tensor with that of `made`.

    One tensor of each is in memory. Tensors that only one of the two has are named as well.
    """
    learned = sorted({rule.algorithm for rule in recipe.rules} & LEARNING)
    if learned:
        raise UnsupportedError(
            f"the file was made with {' and '.join(learned)}, which learned from a text; what it "
            "learned is not in the file, so codes cannot be chosen again"
        )
    source = rotated_checkpoint(source, recipe.rotation)
    plan = quantized_plan(source, assign(source, recipe), info={}, threads=threads)
    for planned in plan.tensors:
        nbytes = planned.layout.nbytes(planned.shape)
        if planned.name not in made.tensors:
            yield Rederived(planned.name, nbytes, "the file does not have it")
            continue
        tensor = made.tensors[planned.name]
        if tensor.shape != planned.shape or tensor.stored_layout != planned.layout:
            found = f"{tensor.scheme.name} {list(tensor.shape)}"
            expected = f"{planned.label} {list(planned.shape)}"
            yield Rederived(planned.name, nbytes, f"it is {found}, made again {expected}")
            continue
        again = {plane: _bytes(data) for plane, data in planned.produce().items()}
        differing = sum(
            int(np.count_nonzero(again[plane] != _bytes(tensor.planes[plane]))) for plane in again
        )
        shown = f"{differing} of {nbytes} bytes differ" if differing else ""
        yield Rederived(planned.name, nbytes, shown)
    planned_names = {planned.name for planned in plan.tensors}
    for name in made.tensors:
        if name not in planned_names:
            yield Rederived(name, 0, "the source does not have it")


def _bytes(data: Buffer | Iterable[Buffer]) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        return data.reshape(-1)
    if isinstance(data, bytes | bytearray | memoryview):
        return np.frombuffer(data, np.uint8)
    return np.concatenate([np.frombuffer(piece, np.uint8) for piece in data])
