"""I2_S: bytes by hand, the scalar oracle, and blocks of both processors."""

import numpy as np
import pytest

import refquant
from conformance.oracle import bitnet as oracle
from tests.group_oracle import check_cases


@pytest.mark.parametrize("block", [128, 64])
def test_every_input_as_the_scalar_oracle(block):
    assert check_cases(refquant.scheme(f"bitnet/i2_s[block={block}]"), oracle.i2_s) >= 14


@pytest.mark.parametrize("block", [128, 64])
def test_bytes_unpack_by_loops(block):
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, 2 * block // 4, np.uint8)
    expected = []
    for k in range(2 * block):
        number, place = divmod(k, block)
        part, byte = divmod(place, block // 4)
        code = int(raw[number * block // 4 + byte]) >> (6 - 2 * part) & 3
        expected.append(0.75 * (code - 1))
    tensor = refquant.QuantizedTensor.from_planes(
        f"bitnet/i2_s[block={block}]",
        (1, 2 * block),
        {"codes": raw.tobytes(), "scale": np.float32(0.75).tobytes()},
    )
    assert tensor.dequantize().ravel().tolist() == expected


def test_signs_and_the_threshold():
    x = np.zeros((1, 128), np.float32)
    x[0, [0, 32, 64, 96]] = 2, -2, 0.9e-6, 1.1e-6
    planes = refquant.quantize(x, "bitnet/i2_s").planes
    assert planes["codes"].ravel()[:2].tolist() == [0b10_00_01_10, 0b01_01_01_01]
    assert planes["scale"].view("<f4").item() == 2
