"""Dot products of blocks of codes: ggml's `vec_dot` in the order of its scalar C.

The integer sum of a block is exact and the same everywhere. What follows is binary32: scales are
multiplied in the order given here, and blocks are added from left to right. Processors add in
other orders, so only single terms, not whole sums, are equal bit for bit between machines.

Operands come as fields, not as bytes: `codes` with the format's own zero already subtracted
(Q4_0 - 8, Q5_0 - 16, Q6_K - 32; the _1 and Q4_K, Q5_K types have none), `y` are the activation's
codes, and scales are the binary32 values of the stored numbers. The last axis runs along the row.
Source: ggml 0.15, ggml-cpu/quants.c, the functions whose names end in `_generic`.
"""

import numpy as np
from numpy.typing import NDArray

from refquant.errors import SchemeError

__all__ = [
    "block_partials",
    "ggml_offset_dot",
    "ggml_q4_0_dot",
    "ggml_scaled_dot",
    "ggml_super_dot",
]

F32 = NDArray[np.float32]
Codes = NDArray[np.integer]

LANES = 8
"""Partial sums that ggml's scalar C keeps for a super-block: weight l goes to sum l mod 8."""


def block_partials(codes: Codes, y: Codes, blocks: int) -> NDArray[np.int32]:
    """The int32 sum of `codes * y` in each of `blocks` equal blocks of the last axis: exact.

    int[..., n], int[..., n] -> i32[..., blocks]. Raises `SchemeError` where the axis cannot be cut
    so.
    """
    products = _products(codes, y, blocks, 1)
    sums: NDArray[np.int32] = products.sum(axis=-1, dtype=np.int32)
    return sums


def ggml_q4_0_dot(
    codes: Codes, d: F32, y: Codes, dy: F32
) -> F32:  # int[..., n], f32[..., b], int[..., n], f32[..., b] -> f32[...]
    """Q4_0 with Q8_0: the sum of `(partial * d) * dy`."""
    partial = block_partials(codes, y, d.shape[-1]).astype(np.float32)
    return _from_the_left((partial * d) * dy)


def ggml_scaled_dot(
    codes: Codes, d: F32, y: Codes, dy: F32
) -> F32:  # int[..., n], f32[..., b], int[..., n], f32[..., b] -> f32[...]
    """Q5_0 and Q8_0 with Q8_0, and tables of integers such as IQ4_NL: `(d * dy) * partial`."""
    partial = block_partials(codes, y, d.shape[-1]).astype(np.float32)
    return _from_the_left((d * dy) * partial)


def ggml_offset_dot(
    codes: Codes, d: F32, m: F32, y: Codes, dy: F32, s: F32
) -> F32:  # int[..., n], f32[..., b] x2, int[..., n], f32[..., b] x2 -> f32[...]
    """Q4_1 and Q5_1 with Q8_1: the sum of `(d * dy) * partial + m * s`.

    `s` is the activation's stored `dy * sum(y)`, rounded to binary16: the result is not the dot
    product of the dequantized operands.
    """
    partial = block_partials(codes, y, d.shape[-1]).astype(np.float32)
    return _from_the_left((d * dy) * partial + m * s)


def ggml_super_dot(
    codes: Codes,
    d: F32,
    scales: Codes,
    y: Codes,
    dy: F32,
    *,
    minima: tuple[F32, Codes, Codes] | None = None,
) -> F32:  # int[..., n], f32[..., b], int[..., g], int[..., n], f32[..., b] -> f32[...]
    """Q4_K, Q5_K and Q6_K with Q8_K: integer scales inside, eight binary32 sums side by side.

    `scales` are the integer scales of all groups of the row, b super-blocks of n / b weights.
    `minima` is (`dmin` f32[..., b], `mins` int[..., g], `sums` int[..., n / 16]: the activation's
    stored sums of 16 codes). For every super-block `dmin * dy * sum(mins * sums)` is subtracted
    first from the result; the eight sums of `(d * dy) * lane` are added to it at the end.
    """
    blocks, groups = d.shape[-1], scales.shape[-1]
    weighted = _products(codes, y, groups, LANES) * scales[..., None, None].astype(np.int32)
    lanes = weighted.reshape(*codes.shape[:-1], blocks, -1, LANES).sum(axis=-2, dtype=np.int32)
    terms = (d * dy)[..., None] * lanes.astype(np.float32)
    result = np.zeros(codes.shape[:-1], np.float32)
    if minima is not None:
        result = _from_the_left(-_minimum_terms(minima, dy))
    for lane in range(LANES):
        result = result + _from_the_left(terms[..., lane])
    return result


def _minimum_terms(minima: tuple[F32, Codes, Codes], dy: F32) -> F32:  # -> f32[..., b]
    dmin, mins, sums = minima
    each = np.repeat(mins.astype(np.int32), sums.shape[-1] // mins.shape[-1], axis=-1)
    by_block = (each * sums).reshape(*dy.shape, -1).sum(axis=-1, dtype=np.int32)
    return np.asarray((dmin * dy) * by_block.astype(np.float32))


def _products(codes: Codes, y: Codes, groups: int, lanes: int) -> NDArray[np.int32]:
    """`codes * y` as i32[..., groups, terms / lanes, lanes]; without lanes i32[..., groups, n]."""
    inner = codes.shape[-1]
    if codes.shape != y.shape or groups < 1 or inner % (groups * lanes):
        raise SchemeError(
            f"block product of {list(codes.shape)} and {list(y.shape)} in {groups} groups: "
            f"expected equal shapes whose last axis is a multiple of {max(groups, 1) * lanes}"
        )
    product = codes.astype(np.int32) * y
    tail = (-1,) if lanes == 1 else (-1, lanes)
    cut: NDArray[np.int32] = product.reshape(*codes.shape[:-1], groups, *tail)
    return cut


def _from_the_left(terms: F32) -> F32:  # f32[..., b] -> f32[...]
    """The sum of the last axis, term by term from 0: NumPy's own sum adds in pairs."""
    total = np.zeros(terms.shape[:-1], np.float32)
    for index in range(terms.shape[-1]):
        total = total + terms[..., index]
    return total
