"""Matrices that multiply integers: activations become codes, and codes are what is summed.

Each kind of matrix is one contract of `refquant.arithmetic.contracts` with one structure of
weights. Sums of codes are exact and the steps behind them are single roundings, so results are the
same in both arithmetics of the runtime, on every machine and for any number of tokens together;
only torchao's contract ends in a product of real numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant import arithmetic
from refquant.arithmetic.activations import QuantizedRows
from refquant.errors import UnsupportedError
from refquant.formats.compute import MatrixContract
from refquant.runtime.factors import Factors, factors_of
from refquant.runtime.ggml_product import GGML_CONTRACTS, GGML_SCHEMES, GgmlMatrix, ggml_matrix
from refquant.runtime.linear import Matrix, linear
from refquant.runtime.ops import Floats
from refquant.tensor import QuantizedTensor

__all__ = ["BlockMatrix", "ChannelMatrix", "StaticMatrix", "TokenMatrix", "coded_matrix"]

QUANTIZERS: Final[Mapping[str, Callable[[Floats], QuantizedRows]]] = {
    "litert_symmetric": arithmetic.litert_symmetric,
    "litert_asymmetric": arithmetic.litert_asymmetric,
    "xnnpack_asymmetric": arithmetic.xnnpack_asymmetric,
}

# Rows of weights whose blocks are summed together: 4 MB of partial sums for a row of 2048.
ROWS: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class ChannelMatrix:
    """Weights i8[n, k] with one scale a row, under one of LiteRT's contracts or XNNPACK's.

    `totals` are the sums of each row's codes, which a zero point of the activations is multiplied
    with.
    """

    shape: tuple[int, int]
    contract: str
    codes: NDArray[np.int8]
    scale: Floats
    totals: NDArray[np.int32]

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The layer of `arithmetic.litert_layer` or `xnnpack_layer`."""
        rows = QUANTIZERS[self.contract](x)
        sums = arithmetic.integer_matmul(rows.codes, self.codes)
        sums -= rows.zero_point[:, None] * self.totals
        exact = sums.astype(np.float32)
        if self.contract == "xnnpack_asymmetric":
            exact *= rows.scale[:, None]
            if bias is not None:
                return arithmetic.fused_multiply_add(exact, self.scale, bias)
            return np.multiply(exact, self.scale, out=exact)
        exact *= rows.scale[:, None] * self.scale
        return exact if bias is None else np.add(exact, bias, out=exact)


@dataclass(frozen=True, slots=True, eq=False)
class BlockMatrix:
    """4-bit weights i8[n, k] with scales f32[n, blocks]."""

    shape: tuple[int, int]
    contract: str
    codes: NDArray[np.int8]
    scale: Floats

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The layer of `arithmetic.litert_block_layer` or `xnnpack_block_layer`."""
        rows = QUANTIZERS[self.contract](x)
        layer = (
            arithmetic.xnnpack_block_layer
            if self.contract == "xnnpack_asymmetric"
            else arithmetic.litert_block_layer
        )
        y = np.empty((len(x), self.shape[0]), np.float32)
        added = np.zeros(self.shape[0], np.float32) if bias is None else bias
        for start in range(0, self.shape[0], ROWS):
            part = slice(start, start + ROWS)
            y[:, part] = layer(rows, self.codes[part], self.scale[part], added[part])
        return y


@dataclass(frozen=True, slots=True, eq=False)
class TokenMatrix:
    """Torchao's 8da4w: decoded weights, and activations that were codes for a moment."""

    shape: tuple[int, int]
    contract: str
    weights: Matrix

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The layer of `arithmetic.torchao_layer`, its product in the arithmetic in force."""
        return linear(arithmetic.torchao_per_token(x).dequantize(), self.weights, bias)


@dataclass(frozen=True, slots=True, eq=False)
class StaticMatrix:
    """Weights i8[n, k] with one scale a row, and scales for what goes in and what comes out."""

    shape: tuple[int, int]
    contract: str
    layer: arithmetic.StaticLayer

    def product(self, x: Floats, bias: Floats | None) -> Floats:  # f32[t, k], f32[n]? -> f32[t, n]
        """The layer of `arithmetic.static`; codes cannot say that a row is not finite."""
        lost = np.logical_not(np.isfinite(x).all(axis=1))
        y = self.layer(np.where(lost[:, None], np.float32(0), x) if lost.any() else x, bias)
        y[lost] = np.nan
        return y


Unfit = Callable[[str], UnsupportedError]
"""Makes the error of a matrix that does not go with its contract, from the reason."""

CodedMatrix = ChannelMatrix | BlockMatrix | TokenMatrix | GgmlMatrix | StaticMatrix


def coded_matrix(
    tensor: QuantizedTensor, name: str, own: MatrixContract, decoded: Callable[[], Matrix]
) -> CodedMatrix:
    """The matrix of a tensor under a contract; `decoded` gives its real numbers where they serve.

    Raises UnsupportedError, with the scheme and the contract, where they do not go together.
    """
    contract, unfit = own.name, partial(_unfit, tensor, name, own.name)
    if contract in GGML_CONTRACTS:
        if tensor.scheme.name not in GGML_SCHEMES or tensor.axis != 1:
            raise unfit(f"ggml's products here are those of {', '.join(GGML_SCHEMES)}")
        return ggml_matrix(tensor, contract)
    factors = factors_of(tensor)
    if factors is None or factors.minimum is not None:
        raise unfit("its weights are not integers times a scale")
    shape, scale = (tensor.shape[0], tensor.shape[1]), factors.scale
    if contract == "torchao_per_token":
        return TokenMatrix(shape, contract, decoded())
    codes = _signed(factors)
    if codes is None:
        raise unfit("its weights have zero points, or more than 8 bits")
    if own.parameters is not None:
        if scale.shape[1] != 1:
            raise unfit("its weights have more than one scale a row")
        layer = arithmetic.static_layer(contract, own.parameters, codes, scale[:, 0])
        return StaticMatrix(shape, contract, layer)
    if scale.shape[1] == 1:
        return _by_channel(shape, contract, codes, scale[:, 0], unfit)
    return _by_block(shape, contract, codes, scale, unfit)


def _by_channel(
    shape: tuple[int, int], contract: str, codes: NDArray[np.int8], scale: Floats, unfit: Unfit
) -> ChannelMatrix:
    if (codes == -128).any():
        raise unfit("a code of -128 occurs; the kernels take -127 to 127")
    return ChannelMatrix(shape, contract, codes, scale, codes.sum(axis=1, dtype=np.int32))


def _by_block(
    shape: tuple[int, int], contract: str, codes: NDArray[np.int8], scale: Floats, unfit: Unfit
) -> BlockMatrix:
    if contract == "litert_symmetric":
        raise unfit("for weights in blocks its engine is litert_asymmetric")
    if np.abs(codes).max() > 8:  # the widest 4-bit code
        raise unfit("its engines take blocks of 4-bit weights only")
    return BlockMatrix(shape, contract, codes, scale)


def _signed(factors: Factors) -> NDArray[np.int8] | None:
    """Codes around zero, where they are int8 and one integer is the zero of all."""
    codes = factors.centred()
    if codes is None or codes.min() < -128 or codes.max() > 127:
        return None
    return np.ascontiguousarray(codes, np.int8)


def _unfit(tensor: QuantizedTensor, name: str, contract: str, reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} has scheme {tensor.scheme.name}, which cannot be computed under {contract}: "
        f"{reason}; --compute weight-only runs it"
    )
