"""GPTQ: codes chosen one column after another, each making up for the errors before it.

The error of a linear layer on its inputs X is |X (W - Q).T|**2 = trace((W - Q) H (W - Q).T) with
H = X.T X. When column i is rounded, the remaining columns move so that this error grows least:
`W[:, j] -= error * U[i, j] / U[i, i]`, where U is the upper Cholesky factor of the inverse of H.

Source: Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers" (2022), algorithm 1. AI Edge Quantizer 0.10 takes rows of the
inverse itself in place of U (`inverse="full"`), fixes all scales beforehand, and damps likewise.

The result depends on the machine's linear algebra in its last bits, so codes may differ from one
machine to another; what they decode to never does.
"""

from dataclasses import dataclass
from math import lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refquant.calibrate.levels import Levels, with_codes
from refquant.driver import Scheme
from refquant.errors import SchemeError, UsageError
from refquant.layout import Plane
from refquant.layout.layout import aligned
from refquant.tensor import QuantizedTensor, quantize

__all__ = ["GptqOptions", "gptq", "layer_error"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GptqOptions:
    """How GPTQ is run; the defaults are the paper's.

    `damping` is added to the diagonal of H, relative to its mean. `order`: columns as they are
    stored, or by falling diagonal (`activation`), for which scales are fixed beforehand.
    `scales`: of a group when its first column is reached, or all beforehand.
    """

    damping: float = 0.01
    block: int = 128
    order: Literal["stored", "activation"] = "stored"
    scales: Literal["running", "beforehand"] = "running"
    inverse: Literal["cholesky", "full"] = "cholesky"

    def __post_init__(self) -> None:
        words = {
            "order": ("stored", "activation"),
            "scales": ("running", "beforehand"),
            "inverse": ("cholesky", "full"),
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                found = getattr(self, name)
                raise UsageError(f"GPTQ's {name} is {found!r}, expected {' or '.join(known)}")
        if self.block < 1 or not self.damping >= 0:
            raise UsageError(
                f"GPTQ's block is {self.block} and its damping {self.damping}; expected 1 or more "
                "columns, and nothing negative"
            )


def gptq(
    weights: F32, hessian: F64, scheme: Scheme, options: GptqOptions | None = None
) -> QuantizedTensor:  # f32[n, k], f64[k, k] -> packed[n, k]
    """The weights under `scheme`, codes chosen for inputs whose second moments are `hessian`.

    Inputs that were never active get code for 0. Raises `SchemeError` where shapes do not agree
    or the scheme has no single code a weight.
    """
    asked = options or GptqOptions()
    inputs = weights.shape[1]
    if hessian.shape != (inputs, inputs):
        raise SchemeError(f"the Hessian is {list(hessian.shape)}, expected [{inputs}, {inputs}]")
    factor, dead = _factor(hessian, asked)
    # A row of `work` is a column of weights: what is done to a column is done to memory in a piece.
    work = np.ascontiguousarray(weights.T, np.float64)
    work[dead] = 0.0
    unit = _unit(scheme, weights.shape)
    fixed = asked.scales == "beforehand" or asked.order == "activation" or unit == inputs
    chooser = _Chooser(scheme, work, inputs if fixed else unit)
    order = np.arange(inputs)
    if asked.order == "activation":
        order = np.argsort(-np.diag(hessian), kind="stable")
        factor, _ = _factor(hessian[np.ix_(order, order)], asked)
        work = work[order]
    codes = np.zeros(work.shape, chooser.dtype)
    for start in range(0, inputs, asked.block):
        _block(work, codes, chooser, factor, order, start, min(start + asked.block, inputs))
    return chooser.finished(codes.T)


def layer_error(weights: F32, quantized: F32, hessian: F64) -> float:
    """trace((W - Q) H (W - Q).T): the squared error of the layer's outputs on the inputs of H."""
    away = weights.astype(np.float64) - quantized
    return float(np.vdot(away @ hessian, away))


def _factor(hessian: F64, options: GptqOptions) -> tuple[F64, NDArray[np.bool_]]:
    """The matrix whose rows spread errors, and which inputs are never active."""
    damped = hessian.astype(np.float64)
    dead = np.diag(damped) == 0
    damped[dead, dead] = 1.0
    damped[np.diag_indices_from(damped)] += options.damping * np.mean(np.diag(damped))
    inverse = np.linalg.inv(damped)
    if options.inverse == "cholesky":
        inverse = np.linalg.cholesky((inverse + inverse.T) / 2).T
    return np.asarray(inverse, np.float64), np.asarray(dead)


def _unit(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Columns whose scales are found together and whose bytes stand for themselves."""
    sizes = [aligned(scheme.group, shape)[-1]]
    sizes += [aligned(plane.block, shape)[-1] for plane in scheme.layout.planes.values()]
    return min(lcm(*sizes), shape[-1])


class _Chooser:
    """Scales of one stretch of columns at a time, and the nearest codes under them.

    `work` f64[k, n] has the columns as rows; where they are in another order than the stored one,
    there is one stretch, and its scales are found here and now.
    """

    def __init__(self, scheme: Scheme, work: F64, unit: int) -> None:
        self.scheme, self.work, self.unit = scheme, work, unit
        self.parts: dict[int, Levels] = {}
        self.dtype = self._part(0).codes.astype(np.int16).dtype

    def _part(self, column: int) -> Levels:
        start = column // self.unit * self.unit
        if start not in self.parts:
            slice_ = self.work[start : start + self.unit].T.astype(np.float32, order="C")
            self.parts[start] = Levels(quantize(slice_, self.scheme))
        return self.parts[start]

    def nearest(self, column: int, x: F64) -> tuple[NDArray[np.integer], F32]:
        """Codes and values nearest to x, f64[n], in a stored column."""
        return self._part(column).nearest(x.astype(np.float32), column % self.unit)

    def finished(self, codes: NDArray[np.integer]) -> QuantizedTensor:
        """The stretches with their codes, side by side."""
        tensors = []
        for start, part in sorted(self.parts.items()):
            chosen = codes[:, start : start + self.unit]
            tensors.append(with_codes(part.tensor, chosen.astype(part.codes.dtype)))
        planes = {
            name: np.concatenate([one.planes[name] for one in tensors], _axis_of_columns(plane))
            for name, plane in self.scheme.layout.planes.items()
        }
        shape = (codes.shape[0], codes.shape[1])
        return QuantizedTensor(self.scheme, shape, planes)


def _axis_of_columns(plane: Plane) -> int:
    """Where the grid of a matrix's records has its columns."""
    return 1 if plane.order is None else plane.order.index(1)


def _block(
    work: F64,
    codes: NDArray[np.integer],
    chooser: _Chooser,
    factor: F64,
    order: NDArray[np.intp],
    start: int,
    stop: int,
) -> None:
    """Round the columns order[start:stop], rows of `work`; those after them move once, at the end.

    `codes` have the columns in stored order.
    """
    errors = np.zeros((stop - start, work.shape[1]))
    for step in range(start, stop):
        column = int(order[step])
        codes[column], rounded = chooser.nearest(column, work[step])
        error = (work[step] - rounded) / factor[step, step]
        work[step + 1 : stop] -= factor[step, step + 1 : stop, np.newaxis] * error
        errors[step - start] = error
    work[stop:] -= factor[start:stop, stop:].T @ errors
