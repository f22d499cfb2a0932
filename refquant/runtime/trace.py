"""What a model computed on its way: the state behind each layer, kept and written to a file.

A file holds one array for each place, f32[tokens, width], the prompt's tokens first, then those
that were written: `embedding`, `blk.0`, ..., `output_norm`, `logits`. The last two are only
computed where a token was chosen, so they have fewer rows. Two traces of one text are compared
from the front: the first array that differs is where two engines part.
"""

import io
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from refquant.errors import FormatError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.rq import atomic_file, read, write_checkpoint
from refquant.runtime.ops import Floats
from refquant.tensor import quantize

__all__ = ["ENDINGS", "Trace", "check_ending", "check_target"]

ENDINGS: Final = (".npz", ".rq")

_INFO: Final = {"trace": 1}
"""What the `.rq` of a trace says of itself."""


class Trace:
    """Collects states; give `watch` to `generate` or `Model.forward`."""

    def __init__(self) -> None:
        self._states: dict[str, list[Floats]] = {}

    def watch(self, name: str, state: Floats) -> None:
        """Keep a copy of a state: the model goes on to change it."""
        self._states.setdefault(name, []).append(state.copy())

    @property
    def states(self) -> dict[str, Floats]:
        """Every place's states, one row for each token."""
        return {name: np.concatenate(parts) for name, parts in self._states.items()}

    def write(self, path: Path) -> None:
        """Write `.npz` or `.rq`, by the ending of the name; UsageError for another one.

        The file appears when it is whole, and takes the place of no other file than a trace.
        """
        check_target(path)
        if path.suffix == ".npz":
            buffer = io.BytesIO()
            np.savez(buffer, **self.states)  # type: ignore[arg-type]  # names are places
            with atomic_file(path) as file:
                file.write(buffer.getbuffer())
            return
        tensors = {name: quantize(state, "float/f32") for name, state in self.states.items()}
        write_checkpoint(path, Checkpoint(None, tensors, {}, None, {}, _INFO))


def check_ending(path: Path) -> None:
    """Refuse, before any work, a name that does not say which of the two formats it is."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"a trace is a file that ends in .npz or .rq, not {path.name!r}")


def check_target(path: Path) -> None:
    """Refuse, before any work, to write over a file that is no trace: it may be a model."""
    check_ending(path)
    if path.is_file() and path.stat().st_size and not _is_trace(path):
        raise UsageError(f"{path} exists and is no trace; choose another name")


def _is_trace(path: Path) -> bool:
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as file:
                return "embedding.npy" in file.namelist()
        except zipfile.BadZipFile:
            return False
    try:
        found = read(path, verify="trust")
    except FormatError:
        return False
    return found.architecture is None and found.info.get("trace") == _INFO["trace"]
