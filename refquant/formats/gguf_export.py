"""A checkpoint as a GGUF file: which type each tensor gets, and what that does to its weights.

Tensors of ggml's types go as they are. Others get the smallest type that keeps the value of
every weight, or else the one that was asked for. Vectors get float32 where the metadata are ours to
make, because llama.cpp multiplies with nothing else.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant.architectures import family_named
from refquant.driver import Scheme
from refquant.errors import UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.gguf_describe import described
from refquant.formats.gguf_pairs import METADATA_DOCUMENT, Metadata, read_metadata
from refquant.formats.gguf_write import GgufPart, ggml_type_of, write_gguf
from refquant.formats.transfer import Moved, Turn, first_that_keeps, moved
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

__all__ = ["GgufExport", "plan_gguf"]

CANDIDATES: Final = tuple(
    [f"ggml/{name}" for name in ("q4_0", "q4_1", "mxfp4", "q5_0", "q5_1", "q8_0")]
    + ["float/f16", "float/bf16", "float/f32"]
)

# ggml's number of a type, and llama.cpp's numbers of the mixtures that are mostly of this type.
MIXTURES: Final[Mapping[int, tuple[int, ...]]] = {
    0: (0,), 1: (1,), 2: (2,), 3: (3,), 6: (8,), 7: (9,), 8: (7,), 10: (10, 21),
    11: (12, 11, 13), 12: (15, 14), 13: (17, 16), 14: (18,), 20: (25,), 23: (30,), 30: (32,),
    34: (36,), 35: (37,), 39: (38,),
}  # fmt: skip
FILE_TYPE: Final = "general.file_type"
UNKNOWN_MIXTURE: Final = 1024


@dataclass(frozen=True, slots=True)
class GgufExport:
    """A GGUF file that has not been written: metadata, and for each tensor its target."""

    checkpoint: Checkpoint
    metadata: Metadata
    targets: Mapping[str, Scheme]
    turns: Mapping[str, Turn]
    new: Mapping[str, QuantizedTensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(
            target.layout.nbytes(self._tensor(name).shape) for name, target in self.targets.items()
        )

    def _tensor(self, name: str) -> QuantizedTensor:
        return self.new[name] if name in self.new else self.checkpoint.tensors[name]

    def moved(self, name: str) -> Moved:
        """One tensor as it will be in the file."""
        return moved(self._tensor(name), self.targets[name], self.turns.get(name))

    def write(self, path: str | os.PathLike[str], advance: Callable[[str, Moved], None]) -> int:
        """Write the file, one tensor in memory at a time, and say how long it is."""

        def part(name: str, target: Scheme) -> GgufPart:
            def produce() -> NDArray[np.uint8]:
                found = self.moved(name)
                advance(name, found)
                (plane,) = found.tensor.planes.values()
                return plane

            return GgufPart(name, ggml_type_of(target) or 0, self._tensor(name).shape, produce)

        parts = [part(name, target) for name, target in self.targets.items()]
        return write_gguf(path, self.metadata, parts)


def plan_gguf(checkpoint: Checkpoint, wanted: str = "ggml/q8_0") -> GgufExport:
    """What a GGUF file of a checkpoint will hold.

    `wanted` is the scheme for tensors whose weights no type of ggml keeps; where its groups do not
    divide the rows, float16 takes its place. Raises UnsupportedError where the architecture or the
    tokenizer has no spelling in GGUF.
    """
    document = checkpoint.documents.get(METADATA_DOCUMENT)
    kept = None if document is None else read_metadata(document.data)
    order = _order(checkpoint, kept)
    fallback = find_scheme(wanted)
    if ggml_type_of(fallback) is None:
        raise UsageError(f"GGUF has no type for {wanted}; expected one of ggml, such as ggml/q8_0")
    targets = {
        name: _target(checkpoint.tensors[name], fallback, made=kept is None) for name in order
    }
    sizes: Counter[int] = Counter()
    for name, target in targets.items():
        sizes[ggml_type_of(target) or 0] += prod(checkpoint.tensors[name].shape)
    mixture = MIXTURES.get(sizes.most_common(1)[0][0], (UNKNOWN_MIXTURE,))
    if kept is None:
        found = described(checkpoint, mixture[0])
        new = {name: tensor.scheme for name, tensor in found.new.items()}
        return GgufExport(checkpoint, found.metadata, {**new, **targets}, found.turns, found.new)
    types = {name: ggml_type_of(target) for name, target in targets.items()}
    if types != kept.types and kept.file.metadata.get(FILE_TYPE, mixture[0]) not in mixture:
        kept = kept.replaced(FILE_TYPE, mixture[0])
    return GgufExport(checkpoint, kept, targets, {}, {})


def _order(checkpoint: Checkpoint, kept: Metadata | None) -> list[str]:
    """The order of the file that the tensors came from, or layer by layer."""
    if kept is not None:
        known = list(kept.types)
    else:
        architecture = checkpoint.need_architecture()
        known = list(family_named(architecture.family).tensors(architecture.fields))
    present = [name for name in known if name in checkpoint.tensors]
    return [*present, *(name for name in checkpoint.tensors if name not in set(present))]


def _target(tensor: QuantizedTensor, fallback: Scheme, *, made: bool) -> Scheme:
    if made and len(tensor.shape) == 1:
        return find_scheme("float/f32")
    if ggml_type_of(tensor.scheme) is not None and tensor.axis == len(tensor.shape) - 1:
        return tensor.scheme
    smallest = first_that_keeps(tensor, CANDIDATES[:-1])
    if smallest is not None:
        return smallest
    return find_scheme("float/f16") if fallback.why_not(tensor.shape, -1) else fallback
