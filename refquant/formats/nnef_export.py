"""A checkpoint's matrices as an NNEF directory: which item each gets, and what that loses."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refquant.driver import Scheme
from refquant.errors import UnsupportedError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.folders import atomic_folder
from refquant.formats.nnef_write import (
    dat_header,
    graph_nnef,
    item_name,
    item_of,
    label_of,
    scale_line,
)
from refquant.formats.transfer import Moved, first_that_keeps, moved
from refquant.schemes import scheme as find_scheme
from refquant.tensor import QuantizedTensor

__all__ = ["NnefExport", "plan_nnef"]

Q40: Final = "ggml/q4_0"
OLD_Q40: Final = "t2n/q40_legacy"


@dataclass(frozen=True, slots=True)
class NnefExport:
    """A directory that has not been written: the matrices' targets, and what is left out."""

    checkpoint: Checkpoint
    targets: Mapping[str, Scheme]
    left_out: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all matrices."""
        tensors = self.checkpoint.tensors
        return sum(one.layout.nbytes(tensors[name].shape) for name, one in self.targets.items())

    def moved(self, name: str) -> Moved:
        """One tensor as it will be in the directory."""
        return moved(self.checkpoint.tensors[name], self.targets[name])

    def write(self, path: str | os.PathLike[str], advance: Callable[[str, Moved], None]) -> int:
        """Write the directory, which appears when it is complete, and say how many bytes it has."""
        with atomic_folder(path) as made:
            return self._fill(made, advance)

    def _fill(self, folder: Path, advance: Callable[[str, Moved], None]) -> int:
        lines, shapes = [], {}
        for name, target in self.targets.items():
            found = self.moved(name)
            tensor = QuantizedTensor.from_planes(
                target,
                found.tensor.shape,
                {plane: raw.reshape(-1) for plane, raw in found.tensor.planes.items()},
            )
            with (folder / f"{label_of(name)}.dat").open("wb") as file:
                file.write(dat_header(tensor))
                file.write(next(iter(tensor.planes.values())).tobytes())
            lines.append(scale_line(name, tensor))
            shapes[name] = (tensor.shape, target)
            advance(name, found)
        (folder / "graph.nnef").write_text(graph_nnef(shapes), encoding="utf-8")
        (folder / "graph.quant").write_text("".join(lines), encoding="utf-8")
        return sum(one.stat().st_size for one in folder.iterdir())


def plan_nnef(
    checkpoint: Checkpoint, wanted: str = "float/f32", *, legacy: bool = False
) -> NnefExport:
    """What an NNEF directory of a checkpoint's matrices will hold.

    `wanted` is the scheme of matrices that no smaller item keeps; `legacy` writes Q40 with
    neighbours in one byte, as tract before 0.21.11 reads it. Vectors and stacks are left out.
    """
    item_of(find_scheme(wanted))
    q40 = OLD_Q40 if legacy else Q40
    names = [name for name, one in checkpoint.tensors.items() if len(one.shape) == 2]
    if not names:
        raise UnsupportedError("an NNEF directory holds matrices, and this model has none")
    labels = {label_of(name) for name in names}
    if len(labels) != len(names):
        raise UnsupportedError("two tensors' names become one file's name in an NNEF directory")
    targets = {
        name: _target(
            checkpoint.tensors[name], OLD_Q40 if legacy and wanted == Q40 else wanted, q40
        )
        for name in names
    }
    left_out = tuple(name for name in checkpoint.tensors if name not in targets)
    return NnefExport(checkpoint, targets, left_out)


def _target(tensor: QuantizedTensor, wanted: str, q40: str) -> Scheme:
    name = item_name(tensor.scheme)
    if name in (Q40, OLD_Q40):
        return find_scheme(q40)
    asked = find_scheme(wanted)
    if name and (wanted == "float/f32" or not name.startswith("float/")):
        return find_scheme(name)
    fits = asked.why_not(tensor.shape, -1) is None
    if tensor.scheme.name.startswith("float/"):
        return asked if fits else find_scheme("float/f32")
    kept = first_that_keeps(tensor, (q40, "float/f16"))
    return kept or (asked if fits else find_scheme("float/f32"))
