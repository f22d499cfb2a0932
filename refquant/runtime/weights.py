"""From a checkpoint's tensors to arrays and packed matrices, whatever the family.

`float32` decodes every tensor once; `u8` keeps a byte for each weight where the scheme is made of
integers and scales, and what is stored elsewhere; `packed` keeps half a byte where that is enough,
and elsewhere leaves a matrix as it is stored and decodes while computing; `auto` is `u8` where that
is possible and `float32` elsewhere, which is the quickest for few tokens. In all of them the
matrices that read the same input are stacked, so that one product serves them all. A matrix that
the file wants computed under a contract is held as that contract's codes in any mode.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from refquant.errors import FormatError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import compute_contracts
from refquant.runtime.coded import coded_matrix
from refquant.runtime.grouped import grouped
from refquant.runtime.linear import Matrix
from refquant.runtime.memory import forget_file_pages
from refquant.runtime.ops import Floats
from refquant.runtime.packed import pack_rows
from refquant.runtime.scratch import Scratch
from refquant.runtime.stacked import StackedMatrix
from refquant.runtime.workers import Crew, SharedMatrix
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["WeightMode", "WeightReader", "require_finite"]

# Codes by group with their scales in binary32 may take so much more than the file does.
MOST_GROWTH: Final = 4 / 3

WeightMode = Literal["auto", "float32", "u8", "packed"]


def stored_tensor(checkpoint: Checkpoint, name: str) -> QuantizedTensor:
    """The tensor of this name, or the one that it is an alias of."""
    return checkpoint.tensors[checkpoint.aliases.get(name, name)]


def require_finite(values: Floats, name: str) -> Floats:
    """The same array; FormatError E_NOT_FINITE if it holds a NaN or an infinity."""
    # A NaN or an infinity survives every sum, and a sum needs no array of truth values.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(np.add.reduce(values, axis=None))
    if suspicious and not (finite := np.isfinite(values)).all():
        first = tuple(int(index) for index in np.argwhere(~finite)[0])
        raise FormatError(
            "E_NOT_FINITE",
            f"element {list(first)} is {values[first]}, expected finite weights",
            where=name,
        )
    return values


class WeightReader:
    """Takes matrices and vectors out of one checkpoint, in one of the modes."""

    def __init__(self, checkpoint: Checkpoint, mode: WeightMode, crew: Crew | None = None) -> None:
        self.checkpoint = checkpoint
        self.mode = mode
        self.crew = crew
        self.scratch = Scratch()
        self.contracts = compute_contracts(checkpoint.extensions, checkpoint.tensors)

    def vector(self, name: str) -> Floats:
        """A tensor as numbers."""
        return require_finite(stored_tensor(self.checkpoint, name).dequantize(), name)

    def table(self, name: str) -> Floats | QuantizedTensor:
        """A matrix that is read a row at a time, such as the embedding."""
        stored = stored_tensor(self.checkpoint, name)
        if self.mode == "float32" or (self.mode == "auto" and _is_float(stored)):
            return require_finite(stored.dequantize(), name)
        return stored

    def matrix(self, *names: str) -> Matrix:
        """Matrices of the same width, stacked row upon row."""
        if any(self.has_contract(name) for name in names):
            return self.shared(_stacked([self._one(name) for name in names]))
        parts = [stored_tensor(self.checkpoint, name) for name in names]
        matrix = self._together(parts, names)
        forget_file_pages(parts[0])
        return self.shared(matrix)

    def shared(self, matrix: Matrix) -> Matrix:
        """The same matrix, multiplied by all of the workers if there are any."""
        return matrix if self.crew is None else self.crew.share(matrix)

    def gated(self, matrix: Matrix, activation: str) -> Matrix:
        """A matrix of gate and up that workers, if there are any, also bend and multiply."""
        if self.crew is None or not isinstance(matrix, SharedMatrix):
            return matrix
        return self.crew.share_gated(matrix, activation)

    def _together(self, parts: list[QuantizedTensor], names: Sequence[str]) -> Matrix:
        """Matrices in one, held as the mode has it."""
        # Behind operators no rows can be cut out: such a matrix is decoded whole.
        if self.mode == "float32" or any(part.scheme.operators for part in parts):
            return _decoded(parts, names)
        if self.mode == "packed":
            return self._packed(parts)
        found = grouped(parts, self.scratch)
        if found is not None:
            return found
        if self.mode == "auto" and all(_is_float(part) for part in parts):
            return _decoded(parts, names)
        if len(parts) > 1:
            each = zip(parts, names, strict=True)
            return _stacked([self._together([part], [name]) for part, name in each])
        return _decoded(parts, names) if self.mode == "auto" else pack_rows(parts, self.scratch)

    def _packed(self, parts: list[QuantizedTensor]) -> Matrix:
        """Matrices in about as many bytes as the file has for them."""
        packed = grouped(parts, self.scratch, pack=True)
        if packed is not None and packed.nbytes <= MOST_GROWTH * _stored(parts):
            return packed
        return pack_rows(parts, self.scratch)

    def has_contract(self, name: str) -> bool:
        """True if products with this tensor have a contract other than its real numbers."""
        return self.checkpoint.aliases.get(name, name) in self.contracts

    def _one(self, name: str) -> Matrix:
        """A matrix by itself, whatever its contract."""
        return self._under_contract(stored_tensor(self.checkpoint, name), name)

    def _under_contract(self, tensor: QuantizedTensor, name: str) -> Matrix:
        def held() -> Matrix:
            return self._together([tensor], [name])

        contract = self.contracts.get(self.checkpoint.aliases.get(name, name))
        return held() if contract is None else coded_matrix(tensor, name, contract, held)

    def expert_matrices(self, *names: str) -> list[Matrix]:
        """For each expert, its slices [n, k] of tensors [experts, n, k], row upon row."""
        return [self.shared(matrix) for matrix in self._expert_matrices(names)]

    def _expert_matrices(self, names: Sequence[str]) -> list[Matrix]:
        parts = [stored_tensor(self.checkpoint, name) for name in names]
        experts = range(parts[0].shape[0])
        if any(self.has_contract(name) for name in names):
            return [
                _stacked(
                    [
                        self._under_contract(_slice(part, expert), name)
                        for name, part in zip(names, parts, strict=True)
                    ]
                )
                for expert in experts
            ]
        if self.mode != "float32":
            return [
                self._together([_slice(part, expert) for part in parts], names)
                for expert in experts
            ]
        whole = [
            require_finite(part.dequantize(), name) for name, part in zip(names, parts, strict=True)
        ]
        if len(whole) == 1:
            return list(whole[0])
        return [np.concatenate([part[expert] for part in whole]) for expert in experts]


def _decoded(parts: Sequence[QuantizedTensor], names: Sequence[str]) -> Floats:
    """The numbers of matrices with the same inputs, row upon row."""
    stacked = np.empty((sum(part.shape[0] for part in parts), parts[0].shape[1]), np.float32)
    start = 0
    for name, part in zip(names, parts, strict=True):
        rows = stacked[start : start + part.shape[0]]
        require_finite(part.dequantize(out=rows), name)
        start += part.shape[0]
    return stacked


def _stored(parts: Sequence[QuantizedTensor]) -> int:
    return sum(part.nbytes for part in parts)


def _is_float(tensor: QuantizedTensor) -> bool:
    return tensor.scheme.name.startswith("float/")


def _stacked(parts: list[Matrix]) -> Matrix:
    if len(parts) == 1:
        return parts[0]
    outputs = sum(part.shape[0] for part in parts)
    return StackedMatrix((outputs, parts[0].shape[1]), tuple(parts))


def _slice(tensor: QuantizedTensor, expert: int) -> QuantizedTensor:
    """One expert's matrix; its bytes where records do not reach across experts, else its values."""
    planes = tensor.layout.planes.values()
    if all(plane.order is None and len(plane.block) < len(tensor.shape) for plane in planes):
        one = tensor.rows(expert, expert + 1)
        bytes_of = {name: plane[0] for name, plane in one.planes.items()}
        return QuantizedTensor(tensor.scheme, tensor.shape[1:], bytes_of, tensor.axis - 1)
    return quantize(tensor.rows(expert, expert + 1).dequantize()[0], "float/f32")
