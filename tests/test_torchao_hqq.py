"""torchao's HQQ against the scalar oracle."""

import numpy as np
import pytest

import refquant
from conformance.oracle import torchao as oracle
from refquant.layout import field_codes
from refquant.testing import adversarial_inputs


@pytest.mark.parametrize(
    ("bits", "storage", "iters"), [(4, "f16", 20), (4, "f32", 1), (2, "bf16", 3), (8, "f16", 2)]
)
def test_codes_parameters_and_values_are_the_oracle_s(bits, storage, iters):
    scheme = refquant.scheme(f"torchao/hqq[bits={bits},group=16,scale={storage},iters={iters}]")
    inputs = adversarial_inputs(scheme, (2, 32))
    for kind in ("bell", "ties", "zeros", "mixed zeros", "equal", "outlier", "opposite extremes"):
        tensor = refquant.quantize(inputs[kind], scheme)
        found = {
            name: field_codes(tensor.layout, name, tensor.planes[field.plane], tensor.shape)
            for name, field in tensor.layout.fields.items()
        }
        groups = inputs[kind].reshape(-1, 16).tolist()
        values = tensor.dequantize().reshape(-1, 16)
        for g, (scale, offset, codes) in enumerate(oracle.hqq(groups, bits, iters, storage)):
            assert found["s"].reshape(-1)[g] == scale, kind
            assert found["z"].reshape(-1)[g] == offset, kind
            assert found["q"].reshape(-1, 16)[g].tolist() == codes, kind
            reals = [oracle.hqq_value(scale, offset, code, bits, storage) for code in codes]
            assert np.array_equal(values[g], np.float32(reals)), kind


def test_equal_weights_have_the_largest_inverse_scale():
    tensor = refquant.quantize(np.full((1, 64), 0.75), "torchao/hqq[scale=f32]")
    assert tensor.planes["scales"].view("<f4").item() == np.float32(1) / np.float32(2e4)
    assert np.abs(tensor.dequantize() - 0.75).max() <= 5e-5 / 2
