"""Plain floats against the scalar oracle on the inputs that users get."""

import ml_dtypes
import numpy as np
import pytest

import refquant
from conformance.oracle import floats as oracle
from refquant.testing import SplitMix64, adversarial_inputs


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_codes_are_the_oracle_s(name):
    for kind, x in adversarial_inputs(name, (4, 48)).items():
        tensor = refquant.quantize(x, name)
        codes = tensor.planes["values"].view(f"<u{tensor.planes['values'].shape[-1]}")[..., 0]
        for weight, code, value in zip(
            x.ravel().tolist(), codes.ravel().tolist(), tensor.dequantize().ravel(), strict=True
        ):
            if np.isnan(weight):
                assert np.isnan(value), kind
                continue
            assert code == oracle.encode(weight, name), (kind, weight)
            assert value == np.float32(oracle.decode(code, name)), (kind, weight)


def every_half():
    return np.arange(1 << 16, dtype=np.uint16)


def same(left, right):
    return (left.view(np.uint32) == right.view(np.uint32)) | (np.isnan(left) & np.isnan(right))


@pytest.mark.parametrize(
    ("name", "package", "dtype"),
    [("f16", "numpy", np.float16), ("bf16", "ml-dtypes 0.6.0", ml_dtypes.bfloat16)],
)
def test_all_codes_decode_and_many_weights_encode_as_elsewhere(name, package, dtype, compared):
    codes = every_half()
    tensor = refquant.QuantizedTensor.from_planes(name, (1 << 16,), {"values": codes.tobytes()})
    with np.errstate(invalid="ignore"):
        theirs = codes.view(dtype).astype(np.float32)
    wrong = ~same(tensor.dequantize(), theirs)
    compared(f"float/{name}", package, "decode", wrong.size, wrong.sum())
    assert not wrong.any()
    patterns = SplitMix64(17).bits(1 << 18).astype(np.uint32)
    x = np.concatenate(
        [patterns.view(np.float32), *adversarial_inputs(name, (4, 48)).values()], None
    )
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        expected = x.astype(dtype).view(np.uint16)
    wrong = refquant.quantize(x, name).planes["values"].view("<u2")[:, 0] != expected
    compared(f"float/{name}", package, "encode", wrong.size, wrong.sum())
    assert not wrong.any()
