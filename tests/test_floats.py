"""Plain floats against the scalar oracle on the inputs that users get."""

import ml_dtypes
import numpy as np
import pytest

import refquant
from conformance.oracle import floats as oracle
from refquant.testing import SplitMix64, adversarial_inputs
from tests.tensor_parts import every_distribution


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


DTYPES = {
    "f32": ("numpy 2.4", np.float32),
    "f16": ("numpy 2.4", np.float16),
    "bf16": ("ml-dtypes 0.6.0", ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("name", DTYPES)
def test_all_codes_decode_and_many_weights_encode_as_elsewhere(name, compared):
    package, dtype = DTYPES[name]
    codes = every_half() if name != "f32" else SplitMix64(18).bits(1 << 18).astype(np.uint32)
    raw = {"values": codes.tobytes()}
    tensor = refquant.QuantizedTensor.from_planes(name, (codes.size,), raw)
    with np.errstate(invalid="ignore"):
        theirs = codes.view(dtype).astype(np.float32)
    compared.decoded(f"float/{name}", package, tensor.dequantize(), theirs)
    patterns = SplitMix64(17).bits(1 << 18).astype(np.uint32).view(np.float32)
    x = np.concatenate([patterns, *adversarial_inputs(name, (4, 48)).values()], None)
    check_encoder(name, x, compared)


@pytest.mark.slow
@pytest.mark.parametrize("name", DTYPES)
def test_all_distributions_encode_as_elsewhere(name, compared):
    check_encoder(name, every_distribution().reshape(-1), compared)


def check_encoder(name, x, compared):
    """The bits of every number; which bits a NaN gets is no part of it."""
    package, dtype = DTYPES[name]
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = x.astype(dtype)
    words = refquant.quantize(x, name).planes["values"].view(f"<u{theirs.itemsize}")[:, 0]
    parts = {"codes": (words, theirs.view(words.dtype), np.isnan(x))}
    compared.encoded(f"float/{name}", package, x.size, parts)
