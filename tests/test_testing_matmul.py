"""Products with quantized weights, and the bound that judges them."""

import numpy as np
import pytest

import refquant
from refquant.errors import ConformanceError, UsageError
from refquant.testing import SplitMix64, assert_matmul_close


def test_products_within_the_bound_report_its_use():
    random = SplitMix64(5)
    x, weight = random.bell(4, 256), refquant.quantize(random.bell(16, 256), "q8_0")
    product = x @ weight.dequantize().T
    use = assert_matmul_close(product, x, weight)
    assert 0 < use.largest < 0.2
    assert use.median <= use.largest
    assert "of the bound used at" in str(use)
    bias = random.bell(16)
    assert_matmul_close(product + bias, x, weight, bias=bias)
    half = product.astype(np.float16)
    assert_matmul_close(half, x, weight, output="float16")
    with pytest.raises(ConformanceError, match="times the bound"):
        assert_matmul_close(half, x, weight)


def test_products_that_are_wrong_fail():
    random = SplitMix64(6)
    x, weight = random.bell(3, 64), random.bell(5, 64)
    product = x @ weight.T
    for place, value in (((1, 2), np.nan), ((0, 0), np.inf)):
        broken = product.copy()
        broken[place] = value
        with pytest.raises(ConformanceError, match="NaN or infinite"):
            assert_matmul_close(broken, x, weight)
    shifted = product.copy()
    shifted[2, 4] += np.float32(1e-3)
    with pytest.raises(ConformanceError, match=r"worst at \[2, 4\]"):
        assert_matmul_close(shifted, x, weight)
    dropped = x[:, :-1] @ weight[:, :-1].T
    with pytest.raises(ConformanceError, match="15 of 15"):
        assert_matmul_close(dropped, x, weight)
    with pytest.raises(ConformanceError, match="have shape"):
        assert_matmul_close(product.T, x, weight)
    with pytest.raises(UsageError, match="does not fit"):
        assert_matmul_close(product, x, weight[:, :-1])
    with pytest.raises(UsageError, match="no bound"):
        assert_matmul_close(product, x * np.float32(np.nan), weight)


def test_any_order_of_summation_passes():
    random = SplitMix64(7)
    x, weight = random.bell(1, 2000), random.bell(1, 2000)
    products = (x * weight)[0]
    forward = np.float32(0)
    for p in products:
        forward += p
    backward = np.float32(0)
    for p in products[::-1]:
        backward += p
    for total in (forward, backward, products.sum(dtype=np.float32)):
        assert_matmul_close([[total]], x, weight)
