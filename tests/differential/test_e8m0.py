"""E8M0 against torch: all codes, every exponent with its middle and neighbours, random bits."""

import numpy as np
import pytest

import refquant
from tests.test_powers import around_powers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

SCHEME, PACKAGE = "float/f8_e8m0[rounding=nearest,outside=magnitude]", "torch 2.13.0"


def test_torch(oracle, tmp_path, compared):
    rng = np.random.default_rng(1)
    random = rng.integers(0, 1 << 32, 1 << 22, np.uint32).view(np.float32)
    x = np.concatenate([around_powers(), random])
    codes = rng.permutation(np.arange(1 << 16, dtype=np.uint16)).astype(np.uint8)
    with answering(oracle("torchao"), "e8m0_worker.py", tmp_path) as ask:
        theirs = ask(x=x, codes=codes)
    found = refquant.quantize(x, SCHEME).planes["values"].ravel()
    compared.encoded(SCHEME, PACKAGE, x.size, {"codes": (found, theirs["codes"])})
    tensor = refquant.QuantizedTensor.from_planes(SCHEME, codes.shape, {"values": codes})
    compared.decoded(SCHEME, PACKAGE, tensor.dequantize(), theirs["values"])
