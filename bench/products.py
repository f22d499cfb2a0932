"""Exact integer products against a binary32 product of the same shape and NumPy's own integers."""

import time
from collections.abc import Iterator

import numpy as np

from bench.timing import Comparison, compare
from refquant.arithmetic import integer_matmul

__all__ = ["product_rows"]

SHAPE = (128, 2048, 2048)


def product_rows(shape: tuple[int, int, int] = SHAPE) -> Iterator[Comparison]:
    """Products of int8 activations with int8 and int4 weights, in ns for 1000 multiplications.

    The float row multiplies operands that are binary32 already; ours convert both each time. Times
    are this thread's own.
    """
    generator = np.random.default_rng(5)
    m, k, n = shape
    activations = generator.integers(-128, 128, (m, k), dtype=np.int8)
    for label, top in (("int8 x int8", 128), ("int8 x int4", 8)):
        weights = generator.integers(-top, top, (n, k), dtype=np.int8)
        expected = activations.astype(np.int64) @ weights.astype(np.int64).T
        if not np.array_equal(integer_matmul(activations, weights), expected):
            raise SystemExit(f"{label}: differs from int64")
        yield from _pairs(label, activations, weights)


def _pairs(label: str, activations: np.ndarray, weights: np.ndarray) -> Iterator[Comparison]:
    floats = activations.astype(np.float32), weights.astype(np.float32).T
    integers = activations.astype(np.int32), weights.astype(np.int32).T
    per = activations.size * len(weights) // 1000
    for peer, left, right, rounds in (
        ("float32 BLAS", *floats, 15),
        ("integer np.matmul", *integers, 3),
    ):
        yield compare(
            f"{label} {activations.shape[0]}x{weights.shape[1]}x{len(weights)}",
            lambda: integer_matmul(activations, weights),
            peer,
            lambda a=left, b=right: np.matmul(a, b),
            per=per,
            rounds=rounds,
            clock=time.thread_time,
        )
