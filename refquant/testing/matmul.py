"""Products with quantized weights, judged by a bound that is derived and not guessed.

For y = x @ w.T with K terms, any order of summation in arithmetic of unit roundoff u, fused or
not, gives |computed - exact| <= gamma * (|x| @ |w|.T) with gamma = K*u / (1 - K*u) (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). To this come the
rounding of the result to its own type, and what may underflow.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refquant.errors import ConformanceError, UsageError
from refquant.tensor import QuantizedTensor

__all__ = ["BoundUse", "assert_matmul_close"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

Precision = Literal["float32", "float16", "bfloat16"]

UNIT: dict[str, float] = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Half the distance from 1 to the next number."""

SMALLEST: dict[str, float] = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
"""The least subnormal: a result below the normal range errs by up to half of it each time."""


@dataclass(frozen=True, slots=True)
class BoundUse:
    """How much of the bound the worst output used: 1.0 would be all of it."""

    largest: float
    index: tuple[int, ...]
    median: float

    def __str__(self) -> str:
        return (
            f"{self.largest:.1%} of the bound used at {list(self.index)}, median {self.median:.1%}"
        )


def assert_matmul_close(
    actual: ArrayLike,
    x: ArrayLike | QuantizedTensor,
    weight: ArrayLike | QuantizedTensor,
    *,
    bias: ArrayLike | None = None,
    accumulate: Precision = "float32",
    output: Precision = "float32",
) -> BoundUse:  # [..., n], [..., k], [n, k] -> use of the bound
    """Raise `ConformanceError` where `actual` is farther from `x @ weight.T + bias` than can be.

    The weights (and `x`, where it is quantized too) are taken as they decode. `accumulate` is the
    least precise type that products are added in, `output` the type that results are stored in.
    NaN and infinities fail. Returns how much of the bound was used, which a good kernel keeps
    small: near 1.0 something else than rounding is at work. The exact product is taken in
    binary64, whose own error is part of the bound.
    """
    inputs, weights = _real(x, "x"), _real(weight, "weight")
    if weights.ndim != 2 or inputs.shape[-1] != weights.shape[-1]:
        raise UsageError(f"x {list(inputs.shape)} does not fit weight {list(weights.shape)}")
    exact = inputs @ weights.T
    size = np.abs(inputs) @ np.abs(weights).T
    terms = weights.shape[-1]
    if bias is not None:
        addend = _real(bias, "bias")
        exact, size, terms = exact + addend, size + np.abs(addend), terms + 1
    found = np.asarray(actual).astype(np.float64)
    if found.shape != exact.shape:
        raise ConformanceError(
            f"matmul: outputs have shape {list(found.shape)}, expected {list(exact.shape)}"
        )
    bound = _bound(exact, size, terms, accumulate, output)
    return _judge(found, exact, bound, terms)


def _real(x: ArrayLike | QuantizedTensor, name: str) -> F64:
    values = x.dequantize() if isinstance(x, QuantizedTensor) else np.asarray(x)
    if not np.isfinite(values).all():
        raise UsageError(f"{name} holds NaN or infinities, for which there is no bound")
    return values.astype(np.float64)


def _bound(exact: F64, size: F64, terms: int, accumulate: str, output: str) -> F64:
    unit = UNIT[accumulate]
    if terms * unit >= 1:
        raise UsageError(f"{terms} terms have no bound when they are added in {accumulate}")
    gamma = terms * unit / (1 - terms * unit) + terms * 2.0**-53 / (1 - terms * 2.0**-53)
    rounding = UNIT[output] * (np.abs(exact) + gamma * size) if output != accumulate else 0.0
    underflow = terms * SMALLEST[accumulate] + SMALLEST[output]
    return np.asarray(gamma * size + rounding + underflow)


def _judge(found: F64, exact: F64, bound: F64, terms: int) -> BoundUse:
    broken = ~np.isfinite(found)
    with np.errstate(invalid="ignore"):
        use = np.abs(found - exact) / bound
    use[broken] = np.inf
    worst = tuple(int(i) for i in np.unravel_index(int(use.argmax()), use.shape))
    result = BoundUse(float(use[worst]), worst, float(np.median(use)))
    outside = int((use > 1).sum())
    if not outside:
        return result
    what = "NaN or infinite" if broken.any() else "outside of the bound"
    raise ConformanceError(
        f"matmul: {outside:,} of {use.size:,} outputs are {what}, the worst at {list(worst)}: "
        f"found {found[worst]:.9g}, expected {exact[worst]:.9g} within {bound[worst]:.3g} "
        f"({terms} terms), which is {result.largest:,.1f} times the bound; "
        f"the median output uses {result.median:.2%} of it"
    )
