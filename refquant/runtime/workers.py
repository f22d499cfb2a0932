"""Processes that share the products of a model: each computes some tiles of every matrix.

They are forked when the weights are in memory, so nothing is copied; what goes into a product and
what comes out lies in memory that all of them see (`team.py` says how they come to terms). Each
computes with one thread of BLAS. Which process computes which tiles does not matter for the result
(`Tiled`), and so their number does not.
"""

import os
import platform
import sys
import weakref
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from refquant.errors import UsageError
from refquant.runtime.blas import ONE_THREAD
from refquant.runtime.gated import gated_tiles
from refquant.runtime.linear import Matrix, Tiled, whole_product
from refquant.runtime.ops import Floats
from refquant.runtime.stacked import takes_bias, tiled
from refquant.runtime.team import Team

__all__ = ["Crew", "SharedMatrix", "usable_processors", "why_alone"]

# Each is a process with memory of its own; nobody has use for more of them than of processors.
MOST_PROCESSES: Final = 64
# Rows of x that are multiplied at once; a longer prompt goes in pieces.
MOST_ROWS: Final = 512
# Numbers that come out of one product at once: 64 MB.
MOST_NUMBERS: Final = 1 << 24


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def why_alone() -> str:
    """Why there can be no workers here, or nothing if there can."""
    if sys.platform != "linux":
        return f"processes that share weights are made by Linux's fork, and this is {sys.platform}"
    if platform.machine() != "x86_64":
        return (
            "workers look at shared memory in a way that only x86-64 orders, "
            f"and this is {platform.machine()}"
        )
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class SharedMatrix:
    """A matrix that a crew multiplies; `index` is its number there.

    `gated` gives the gated vector at once, if the matrix holds gate and up and can do so.
    """

    matrix: Tiled
    crew: "Crew"
    index: int
    gated: "SharedMatrix | None" = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.matrix.shape

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The products of every row of x with every row of the matrix, and the bias added."""
        if bias is not None and takes_bias(self.matrix):
            return self.matrix.product(x, bias)
        y = self.crew.product(self.index, x)
        return y if bias is None else np.add(y, bias, out=y)


class Crew:
    """So many processes, this one among them, and the matrices that they know.

    First every matrix is shared, then the work starts; the other processes end with `close`, or
    when the crew is forgotten, or when this process ends in any way.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UsageError(f"workers is {size}, expected 1 or more")
        most = max(MOST_PROCESSES, usable_processors())
        if size > most:
            raise UsageError(
                f"workers is {size}, expected at most {most}; more than the {usable_processors()} "
                "processors here make nothing quicker"
            )
        if size > 1 and (reason := why_alone()):
            raise UsageError(f"workers is {size}: {reason}")
        self.size = size
        self._matrices: list[Tiled] = []
        self._steps: list[int] = []
        self._team: Team | None = None
        self._lift: weakref.finalize[[], Crew] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The other processes."""
        return () if self._team is None else self._team.pids

    def share(self, matrix: Matrix) -> SharedMatrix:
        """The same matrix, multiplied by all; only before the start."""
        one = tiled(matrix)
        self._matrices.append(one)
        self._steps.append(_rows_at_once(one))
        return SharedMatrix(one, self, len(self._matrices) - 1)

    def share_gated(self, matrix: SharedMatrix, activation: str) -> SharedMatrix:
        """The same matrix of gate and up, and the step that bends them; only before the start."""
        together = gated_tiles(matrix.matrix, activation)
        return matrix if together is None else replace(matrix, gated=self.share(together))

    def start(self) -> None:
        """Fork the other processes; until the end BLAS has one thread in each."""
        ONE_THREAD.take()
        self._lift = weakref.finalize(self, ONE_THREAD.give_back)
        self._lift.atexit = False
        if self.size > 1:
            self._team = Team(self._matrices, self.size, max(map(_most, self._matrices), default=0))

    def product(self, index: int, x: Floats) -> Floats:  # f32[t, k] -> f32[t, n]
        """The products of every row of x with every row of a matrix."""
        step = self._steps[index]
        if len(x) <= step:
            return self._at_once(index, x)
        y = np.empty((len(x), self._matrices[index].shape[0]), np.float32)
        for start in range(0, len(x), step):
            y[start : start + step] = self._at_once(index, x[start : start + step])
        return y

    def _at_once(self, index: int, x: Floats) -> Floats:  # f32[t, k] -> f32[t, n]
        if self._team is None:
            return whole_product(self._matrices[index], x, None)
        return self._team.product(index, x)

    def close(self) -> None:
        """End the other processes; products go on in this one, with BLAS's own threads."""
        if self._team is not None:
            self._team.close()
            self._team = None
        if self._lift is not None:
            self._lift()


def _rows_at_once(matrix: Tiled) -> int:
    return max(min(MOST_ROWS, MOST_NUMBERS // matrix.shape[0]), 1)


def _most(matrix: Tiled) -> int:
    """Numbers that go into one product, or come out, whichever is more."""
    return _rows_at_once(matrix) * max(matrix.shape)
