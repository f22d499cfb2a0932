"""The two arithmetics of the runtime: what a product, a sum and an exponential are.

`fast` is BLAS and NumPy in binary32: quick, and its last bits depend on the machine. `exact` rounds
every one of these operations correctly (`spec/arithmetic.md`), so that logits are the same bits
everywhere, for any number of threads, and whatever tokens are computed together.

`ops.py` asks `primitives()` for them; `arithmetic(mode)` says which they are inside of a `with`.
All other operations (+ - * / and roots of single numbers) are unique in NumPy anyway.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from refquant.arithmetic import correctly_rounded
from refquant.errors import UsageError

__all__ = [
    "ARITHMETICS",
    "ArithmeticMode",
    "Primitives",
    "arithmetic",
    "arithmetic_of",
    "primitives",
    "using",
]

Floats = NDArray[np.float32]
Turns = NDArray[np.complex64]
Frequencies = NDArray[np.float64]

ArithmeticMode = Literal["fast", "exact"]

ARITHMETICS: Final[tuple[ArithmeticMode, ...]] = get_args(ArithmeticMode)


@dataclass(frozen=True, slots=True)
class Primitives:
    """One arithmetic: the operations whose results machines disagree about.

    `exp`, `log`, `tanh` and `erf` overwrite their argument and return it; `row_products` writes
    into its third. With `each_row_alone`
    a token's numbers may not depend on which tokens are computed beside it; in `exact` they never
    do.
    """

    products: Callable[[Floats, Floats], Floats]
    row_products: Callable[[Floats, Floats, Floats], object]
    sum_of_squares: Callable[[Floats], Floats]
    sum_rows: Callable[[Floats], Floats]
    exp: Callable[[Floats], Floats]
    log: Callable[[Floats], Floats]
    tanh: Callable[[Floats], Floats]
    erf: Callable[[Floats], Floats]
    turned: Callable[[Floats, Turns], Floats]
    frequencies: Callable[[float, int], Frequencies]
    table: Callable[[int, int, Frequencies], Turns]
    is_exact: bool = False
    each_row_alone: bool = False


def primitives() -> Primitives:
    """The arithmetic that is in force here."""
    return _IN_FORCE.get()


@contextmanager
def arithmetic(mode: ArithmeticMode) -> Iterator[None]:
    """Compute in one of the two arithmetics inside of the `with`; UsageError for another word."""
    if mode not in _PRIMITIVES:
        raise UsageError(f"arithmetic can be {' or '.join(ARITHMETICS)}, not {mode!r}")
    with using(_PRIMITIVES[mode]):
        yield


@contextmanager
def using(chosen: Primitives) -> Iterator[None]:
    """Compute with some primitives inside of the `with`: others that also observe, for example."""
    token = _IN_FORCE.set(chosen)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def arithmetic_of(*, exact: bool, alone: bool) -> Primitives:
    """One of the two arithmetics, each row alone or not."""
    return _VARIANTS[exact, alone]


def _products(x: Floats, y: Floats) -> Floats:  # f32[..., t, k], f32[..., k, n] -> f32[..., t, n]
    z: Floats = np.matmul(x, y)
    return z


def _row_products(x: Floats, w: Floats, out: Floats) -> None:  # f32[t, k], f32[n, k], f32[t, n]
    np.matmul(x, w.T, out=out)


def _sum_of_squares(x: Floats) -> Floats:  # f32[..., d] -> f32[...]
    return np.asarray(np.vecdot(x, x))


def _sum_rows(x: Floats) -> Floats:  # f32[..., n] -> f32[...]
    return np.asarray(np.add.reduce(x, axis=-1))


def _exp(x: Floats) -> Floats:  # f32[...] -> f32[...]
    return np.exp(x, out=x)


def _log(x: Floats) -> Floats:  # f32[...] -> f32[...]
    return np.log(x, out=x)


def _tanh(x: Floats) -> Floats:  # f32[...] -> f32[...]
    return np.tanh(x, out=x)


def _erf(x: Floats) -> Floats:  # f32[...] -> f32[...]
    x[...] = np.array([math.erf(value) for value in x.ravel().tolist()]).reshape(x.shape)
    return x


def _turned(
    pairs: Floats, table: Turns
) -> Floats:  # f32[t, h, d], c64[t, 1, d / 2] -> f32[t, h, d]
    return (pairs.view(np.complex64) * table).view(np.float32)


def _frequencies(theta: float, head_width: int) -> Frequencies:  # float, int -> f64[d / 2]
    exponents = np.arange(0, head_width, 2, dtype=np.float64) / head_width
    return np.asarray(theta**-exponents)


def _table(
    start: int, tokens: int, frequencies: Frequencies
) -> Turns:  # int, int, f64[n] -> c64[t, n]
    positions = np.arange(start, start + tokens, dtype=np.float64)
    angles = positions[:, np.newaxis] * frequencies
    return (np.cos(angles) + 1j * np.sin(angles)).astype(np.complex64)


def _exact_products(
    x: Floats, y: Floats
) -> Floats:  # f32[..., t, k], f32[..., k, n] -> f32[..., t, n]
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return correctly_rounded.matmul(
        np.broadcast_to(x, (*batch, *x.shape[-2:])),
        np.swapaxes(np.broadcast_to(y, (*batch, *y.shape[-2:])), -1, -2),
    )


def _exact_row_products(
    x: Floats, w: Floats, out: Floats
) -> None:  # f32[t, k], f32[n, k], f32[t, n]
    out[...] = correctly_rounded.matmul(x, w)


def _exactly(function: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """A function of the same kind that overwrites its argument."""

    def overwritten(x: Floats) -> Floats:
        x[...] = function(x)
        return x

    return overwritten


def _exact_turned(
    pairs: Floats, table: Turns
) -> Floats:  # f32[t, h, d], c64[t, 1, d / 2] -> f32[t, h, d]
    """NumPy may fuse the parts of a complex product, so they are computed one by one."""
    a, b = pairs[..., 0::2], pairs[..., 1::2]
    turned = np.empty_like(pairs)
    np.subtract(a * table.real, b * table.imag, out=turned[..., 0::2])
    np.add(b * table.real, a * table.imag, out=turned[..., 1::2])
    return turned


def _exact_table(
    start: int, tokens: int, frequencies: Frequencies
) -> Turns:  # int, int, f64[n] -> c64[t, n]
    return correctly_rounded.rotary_table(np.arange(start, start + tokens), frequencies)


_PRIMITIVES: Final = {
    "fast": Primitives(
        products=_products,
        row_products=_row_products,
        sum_of_squares=_sum_of_squares,
        sum_rows=_sum_rows,
        exp=_exp,
        log=_log,
        tanh=_tanh,
        erf=_erf,
        turned=_turned,
        frequencies=_frequencies,
        table=_table,
    ),
    "exact": Primitives(
        products=_exact_products,
        row_products=_exact_row_products,
        sum_of_squares=correctly_rounded.sum_of_squares,
        sum_rows=correctly_rounded.sum_rows,
        exp=_exactly(correctly_rounded.exp),
        log=_exactly(correctly_rounded.log),
        tanh=_exactly(correctly_rounded.tanh),
        erf=_exactly(correctly_rounded.erf),
        turned=_exact_turned,
        frequencies=correctly_rounded.rotary_frequencies,
        table=_exact_table,
        is_exact=True,
    ),
}

_VARIANTS: Final = {
    (kind.is_exact, alone): replace(kind, each_row_alone=alone)
    for kind in _PRIMITIVES.values()
    for alone in (False, True)
}

_IN_FORCE: Final = ContextVar("arithmetic in force", default=_PRIMITIVES["fast"])
