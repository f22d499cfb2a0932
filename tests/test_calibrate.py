"""Hadamard rotation against the scalar oracle and its own algebra."""

import numpy as np
import pytest

from conformance.oracle import aeq as oracle
from refquant.calibrate import hadamard_matrix, hadamard_size, rotated
from refquant.errors import UsageError


def weights(*shape):
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("columns", "limit", "size"),
    [(96, 0, 32), (96, 20, 16), (96, 64, 32), (7, 0, 1), (1 << 12, 1024, 1024), (12, 1, 1)],
)
def test_slices_are_the_largest_power_of_two_that_divides(columns, limit, size):
    assert hadamard_size(columns, limit) == size


@pytest.mark.parametrize(("columns", "limit"), [(1, 0), (96, 0), (64, 8), (24, 0)])
def test_rotation_equals_the_scalar_oracle(columns, limit):
    x = weights(3, columns)
    size = hadamard_size(columns, limit)
    expected = [oracle.hadamard([float(v) for v in row]) for row in x.reshape(-1, size)]
    assert np.array_equal(rotated(x, limit), np.array(expected, np.float32).reshape(x.shape))


def test_rotation_is_a_product_with_the_matrix():
    x, matrix = weights(2, 5, 48), hadamard_matrix(16).astype(np.float64)
    product = x.astype(np.float64).reshape(-1, 16) @ matrix
    magnitudes = np.abs(x.astype(np.float64)).reshape(-1, 16) @ np.abs(matrix)
    assert (np.abs(rotated(x) - product.reshape(x.shape)) <= 2.0**-23 * magnitudes.max()).all()


def test_rotation_undoes_itself_and_leaves_products():
    # Slices of 16: the magnitude is exactly 1/4, and small integers stay exact.
    x = np.random.default_rng(5).integers(-8, 9, (4, 48)).astype(np.float32)
    w = np.random.default_rng(6).integers(-8, 9, (3, 48)).astype(np.float32)
    assert np.array_equal(rotated(rotated(x)), x)
    assert np.array_equal(rotated(x) @ rotated(w).T, x @ w.T)


def test_an_outlier_is_spread_over_its_slice():
    x = np.zeros((1, 64), np.float32)
    x[0, 5] = 8
    assert np.abs(rotated(x)).tolist() == [[1.0] * 64]


def test_sizes_that_are_none():
    with pytest.raises(UsageError, match="powers of two"):
        hadamard_matrix(12)
    with pytest.raises(UsageError, match="no slice"):
        hadamard_size(8, -1)
